import dataclasses
import functools
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from scripts import disturb, kill_study
from signsal_jax import cli, data, sharding
from signsal_jax.evaluations import insertion_curve
from signsal_jax.evaluations.entry import ArraySpec, Entry
from signsal_jax.evaluations.registry import ENTRIES
from signsal_jax.study import (
    EVALUATION,
    StudyConfig,
    StudyError,
    UnfinishedError,
    array_specs,
    open_study,
    run_study,
    study_step,
)
from signsal_jax.study._manifest import status_lines
from signsal_jax.study._parts import Parts
from signsal_jax.study._run import run_chunks
from tests import study_worker, toys

ROOT = Path(__file__).parents[1]


def stored(root):
    return {name: np.asarray(array) for name, array in open_study(root).arrays().items()}


def assert_identical(root, other):
    one, two = stored(root), stored(other)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(two[name], values, err_msg=name)
    assert open_study(root).merge() == open_study(other).merge()


def run(out, devices=1, class_devices=1, **fields):
    mesh = sharding.make_mesh(jax.devices()[:devices], class_devices=class_devices)
    config = study_worker.config(**fields)
    return run_study(config, study_worker.model(), study_worker.splits(), out, mesh=mesh)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "one"
    return out, run(out)


def test_what_is_stored_is_what_the_library_computes(undisturbed):
    out, summary = undisturbed
    model, dataset = study_worker.model(), study_worker.splits()[0]
    images = data.to_float(dataset.source.images)
    jacobian = np.asarray(toys.oracle_jacobian(model.apply_fn, model.variables, images))
    saliency = signsal_jax.saliency_maps(model.apply_fn, model.variables, images)
    curves = signsal_jax.evaluate_deletion(
        model.apply_fn, model.variables, images, saliency.maps, fractions=(0.0, 0.1, 0.5)
    )
    found = stored(out)
    np.testing.assert_array_equal(found["label"], dataset.source.labels)
    np.testing.assert_array_equal(found["target"], saliency.target)
    toys.assert_close(found["logits"], saliency.logits)
    for method, maps in saliency.maps.items():
        assert found[f"map_{method}"].dtype == np.float16
        np.testing.assert_allclose(found[f"map_{method}"], maps, rtol=1e-3, atol=1e-6)
    for method, rival in saliency.runner_up.items():
        np.testing.assert_array_equal(found[f"runner_up_{method}"], rival)
        row = ("active", "inactive").index(method)
        counted = (np.asarray(saliency.margin[method]) > 0).sum((1, 2))
        np.testing.assert_array_equal(found["rivals"][:, row].sum(1), counted)
    for index, name in enumerate(signsal_jax.PAPER_CURVES):
        np.testing.assert_array_equal(found["agreement"][:, index], curves[name].agreement)
        np.testing.assert_allclose(found["deleted"][:, index], curves[name].deleted, rtol=1e-6)
    names = open_study(out).manifest["names"]["insertion_curve"]
    for index, name in enumerate(names):
        canvas, method = name.split()
        curve = insertion_curve(
            model.apply_fn,
            model.variables,
            images,
            saliency.maps[method],
            canvas=canvas,
            fractions=(0.0, 0.1, 0.5),
        )
        np.testing.assert_array_equal(found["insertion_agreement"][:, index], curve.agreement)
        np.testing.assert_allclose(found["inserted"][:, index], curve.inserted, rtol=1e-6)
    flat = jacobian.reshape(*jacobian.shape[:2], -1)
    toys.assert_close(found["norm"], np.linalg.norm(flat, axis=2))
    toys.assert_close(found["gram"], np.einsum("bip,bjp->bij", flat, flat))
    signs = np.sign(flat)
    toys.assert_close(found["sign_agreement"], np.einsum("bip,bjp->bij", signs, signs) / 72)
    assert summary["images"] == summary["valid"] == 22
    agreement = found["agreement"].mean(0, dtype=np.float64)
    np.testing.assert_allclose(summary["mean"]["agreement"], agreement, rtol=1e-12)


def counting(apply_fn, counts):
    """The same classifier, which counts its runs forwards and backwards."""

    def count(name):
        counts[name] += 1

    @jax.custom_vjp
    def identity(images):
        return images

    def backward(_, gradient):
        jax.debug.callback(lambda _: count("pullbacks"), gradient.ravel()[0])
        return (gradient,)

    identity.defvjp(lambda images: (images, None), backward)

    def apply(variables, images):
        jax.debug.callback(lambda _: count("forwards"), images.ravel()[0])
        return apply_fn(variables, identity(images))

    return apply


@pytest.mark.parametrize(
    ("store", "methods", "pullbacks"),
    [
        (("logits",), signsal_jax.METHODS, 0),
        (("logits", "maps"), ("vanilla", "negative"), 1),
        # Two classes at a time on CPU: the sixth is padding.
        (("maps", "runner_up", "shares"), signsal_jax.METHODS, 6),
        (("norm", "gram", "rivals"), signsal_jax.METHODS, 5),
    ],
)
def test_only_what_is_stored_is_computed(store, methods, pullbacks):
    counts = {"forwards": 0, "pullbacks": 0}
    model, images = study_worker.model(), toys.random_images(0, (3, 6, 6, 2))
    config = study_worker.config(store=store, methods=methods)
    mesh = sharding.make_mesh(jax.devices()[:1])
    found = jax.jit(
        lambda variables, images, labels: study_step(
            counting(model.apply_fn, counts), variables, images, labels, config=config, mesh=mesh
        )
    )(model.variables, images, jnp.zeros(3, jnp.int32))
    jax.effects_barrier()
    assert counts == {"forwards": 1, "pullbacks": pullbacks}
    assert found.keys() == array_specs(config, (6, 6, 2), 5).keys()


def test_the_gradient_method_is_the_configurations(tmp_path):
    fields = {"estimator": "integrated_gradients", "steps": 2, "baseline": 1.0}
    run(tmp_path / "study", store=("maps",), storage="float32", images=4, **fields)
    store = open_study(tmp_path / "study")
    assert store.manifest["estimator"] == {
        "name": "integrated_gradients", "baseline": 1.0, "steps": 2,
    }  # fmt: skip
    model, dataset = study_worker.model(), study_worker.splits()[0]
    saliency = signsal_jax.saliency_maps(
        model.apply_fn,
        model.variables,
        data.to_float(dataset.source.images[:4]),
        estimator=signsal_jax.integrated_gradients(1.0, steps=2),
    )
    for method, maps in saliency.maps.items():
        toys.assert_close(store.arrays()[f"map_{method}"][:], maps)


def test_memory_is_flat_in_classes(monkeypatch):
    """The step of an evaluation as an accelerator runs it: classes together, a chunk at a time."""

    def default_alone(*operands, default, **_):
        return default(*operands)

    monkeypatch.setattr(jax.lax, "platform_dependent", default_alone)
    images, labels = jnp.zeros((4, 12, 12, 3)), jnp.zeros(4, jnp.int32)

    def memory(classes):
        fields = {"class_chunk": 10, "through": "scores"}
        config = StudyConfig(store=EVALUATION, fractions=(0.5,), **fields)
        step = functools.partial(
            study_step, toys.cnn, config=config, mesh=sharding.make_mesh(jax.devices()[:1])
        )
        variables = toys.cnn_variables(0, classes, 3)
        compiled = jax.jit(step).lower(variables, images, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(400) < 1.3 * memory(40)


def test_a_new_evaluation_is_one_entry(undisturbed, tmp_path, monkeypatch):
    """The mean of the target's gradient, stored, summed and labelled by its entry alone."""
    entry = Entry(
        "mean_gradient",
        arrays=lambda options, sizes: {"mean_gradient": ArraySpec("float32", ("channel",), (2,))},
        needs=frozenset({"extrema"}),
        of_image=lambda explained: {"mean_gradient": explained.extrema.gradient.mean((1, 2))},
        mean=("mean_gradient",),
        labels=lambda options: {"channel": ("left", "right")},
    )
    monkeypatch.setitem(ENTRIES, entry.name, entry)
    summary = run(tmp_path / "new", store=("mean_gradient",))
    store = open_study(tmp_path / "new")
    found = np.asarray(store.arrays()["mean_gradient"])
    model, dataset = study_worker.model(), study_worker.splits()[0]
    images = data.to_float(dataset.source.images)
    jacobian = np.asarray(toys.oracle_jacobian(model.apply_fn, model.variables, images))
    target = np.asarray(store.arrays()["target"])
    expected = jacobian[np.arange(22), target].mean((1, 2))
    toys.assert_close(found, expected)
    np.testing.assert_allclose(summary["mean"]["mean_gradient"], expected.mean(0), rtol=1e-4)
    assert store.manifest["names"]["channel"] == ["left", "right"]


@pytest.mark.parametrize(("devices", "class_devices"), [(8, 1), (8, 2)])
def test_many_devices_give_the_numbers_of_one(undisturbed, tmp_path, devices, class_devices):
    out, summary = undisturbed
    other = run(tmp_path / "many", devices, class_devices)
    one, many = stored(out), stored(tmp_path / "many")
    for name, values in one.items():
        if values.dtype.kind in "bi":
            np.testing.assert_array_equal(many[name], values, err_msg=name)
        else:
            # A float16 map may round to either neighbor of what differs by 1e-6.
            limit = 1e-3 if values.dtype == np.float16 else 1e-6
            largest = np.abs(values).max()
            assert np.abs(many[name].astype(np.float64) - values).max() <= limit * largest, name
    assert other["mean"]["agreement"] == summary["mean"]["agreement"]


def test_a_finished_study_computes_nothing_again(undisturbed, monkeypatch):
    out, summary = undisturbed
    monkeypatch.setattr(study_worker.SlowImages, "__getitem__", None)
    assert run(out) == summary
    with pytest.raises(StudyError, match=r"config\.rule: 'paper' there, 'exact' now"):
        run(out, rule="exact")


def test_a_study_of_more_images_goes_on_with_one_of_fewer(undisturbed, tmp_path, monkeypatch):
    out, read = tmp_path / "study", []
    run(out, images=10)
    images = study_worker.SlowImages.__getitem__
    monkeypatch.setattr(
        study_worker.SlowImages,
        "__getitem__",
        lambda self, index: read.append(int(index)) or images(self, index),
    )
    summary = run(out)
    assert sorted(read) == list(range(8, 22))  # two full chunks stay
    assert summary == undisturbed[1]
    assert_identical(undisturbed[0], out)
    with pytest.raises(StudyError, match=r"of 22 images, got 10: a study can grow, but not"):
        run(out, images=10)


def test_a_group_goes_on_after_the_chunks_that_were_kept(undisturbed, tmp_path, monkeypatch):
    """Of groups of chunks 0 to 3 and 4 to 5, stopped after two chunks, of which one is damaged."""
    out, read = tmp_path / "study", []
    images, write = study_worker.SlowImages.__getitem__, Parts.write

    def interrupted(parts, *chunk):
        signal.raise_signal(signal.SIGTERM)
        write(parts, *chunk)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", interrupted)
        with pytest.raises(UnfinishedError, match="stopped at 0 of 2 groups"):
            run(out, group=4)
    first, _ = sorted((out / "parts").iterdir())
    assert not list(out.glob("leases/*"))
    first.write_bytes(first.read_bytes()[:-30])
    monkeypatch.setattr(
        study_worker.SlowImages,
        "__getitem__",
        lambda self, index: read.append(int(index)) or images(self, index),
    )
    assert run(out, group=4) == undisturbed[1]
    # What was kept is not computed again. The damage shows at the commit: then its chunk is, and
    # the last one.
    assert [read.count(4 * chunk) for chunk in range(6)] == [1, 0, 1, 2, 1, 1]
    assert_identical(undisturbed[0], out)
    assert len(list(out.glob("arrays.zarr/logits/c/*/0"))) == len(list(out.glob("commits/*"))) == 2
    assert not list(out.glob("parts/*"))


def test_status_says_how_far(undisturbed, tmp_path):
    lines = status_lines(open_study(undisturbed[0]))
    assert lines[0] == "6 of 6 chunks, 22 of 22 images (100.0%)"
    assert "images a second" in lines[1]


def command(out, *options):
    return [sys.executable, "-m", "tests.study_worker", str(out), *options]


@pytest.fixture
def worker_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def worker(out, *options):
    return subprocess.Popen(
        command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def connected(count):
    """Options of processes that find each other through jax.distributed, as on a pod."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        ("--port", str(port), "--processes", str(count), "--process", str(index))
        for index in range(count)
    ]


def until_committed(process, out, chunks):
    """Waits for that many commits, or for the end of the process."""
    while process.poll() is None and len(disturb.commits(out)) < chunks:
        time.sleep(0.01)


@pytest.mark.usefixtures("worker_environment")
def test_disturbed_at_random_moments_it_ends_like_an_undisturbed_run(
    undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setattr(disturb, "GONE_SECONDS", 2)
    out = tmp_path / "disturbed"
    slow = command(out, "--gone", "2", "--seconds", "0.3", "--group", "2")

    def begin():
        return subprocess.Popen(slow, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    counts = disturb.disturbed(begin, out, 3, 4, random.Random(1))
    assert sum(counts.get(kind.name, 0) for kind in disturb.KINDS) > 1
    assert kill_study.differing(out, undisturbed[0]) == []


@pytest.mark.usefixtures("worker_environment")
def test_sigterm_finishes_the_chunk_and_exits_with_75(tmp_path):
    out = tmp_path / "stopped"
    process = worker(out, "--seconds", "0.1", "--store", "logits")
    until_committed(process, out, 1)
    process.terminate()
    log, _ = process.communicate(timeout=200)
    assert process.returncode == 75, log
    store = open_study(out)
    done = len(store.committed())
    assert 1 <= done < store.layout.chunks
    assert f"stopped at {done} of 6 groups; the same command goes on" in log
    assert store.verify() == []


@pytest.mark.usefixtures("worker_environment")
@pytest.mark.parametrize("processes", [connected(2), [()] * 3], ids=["connected", "apart"])
def test_several_processes_give_the_bits_of_one(undisturbed, tmp_path, processes):
    processes = [worker(tmp_path / "several", *options) for options in processes]
    logs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), logs
    assert all("complete" in log for log in logs)
    assert_identical(undisturbed[0], tmp_path / "several")


@pytest.mark.usefixtures("worker_environment")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "asleep"])
def test_what_a_lost_process_leaves_the_other_computes(tmp_path, end):
    """Connected at first through jax.distributed, where process 0's death would end all."""
    out = tmp_path / "study"
    slow = ("--gone", "3", "--seconds", "0.2", "--store", "logits")
    victim, survivor = (worker(out, *slow, *options) for options in connected(2))
    until_committed(victim, out, 1)
    victim.send_signal(end)
    log, _ = survivor.communicate(timeout=200)
    assert survivor.returncode == 0, log
    assert "complete" in log
    store = open_study(out)
    assert store.committed() == list(range(6))
    before = disturb.commits(out)
    victim.send_signal(signal.SIGCONT)
    log, _ = victim.communicate(timeout=200)
    assert victim.returncode == (0 if end == signal.SIGSTOP else -signal.SIGKILL), log
    assert disturb.commits(out) == before
    assert store.verify() == []


def test_an_unfinished_study_is_exit_status_75(monkeypatch, capsys):
    def stopped(_):
        raise UnfinishedError("stopped at 3 of 6 chunks")

    monkeypatch.setattr("signsal_jax.cli.study.Study.run_command", stopped)
    assert cli.main(["study"]) == 75
    assert capsys.readouterr().err == "signsal: stopped at 3 of 6 chunks\n"


def test_other_pixels_under_the_same_name_are_refused(undisturbed, monkeypatch):
    source = study_worker.splits()[0].source
    source.images[3, 2, 1, 0] ^= 1
    changed = [dataclasses.replace(study_worker.splits()[0], source=source)]
    monkeypatch.setattr(study_worker, "splits", lambda: changed)
    named = r"data\.fingerprints\.test\.sha256: '\w+' there, '\w+' now"
    with pytest.raises(StudyError, match=named):
        run(undisturbed[0])


def test_verify_names_damage(undisturbed, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(undisturbed[0], out)
    assert cli.main(["study", "--status", str(out), "--verify"]) == 0
    assert "All checksums of what is committed are right." in capsys.readouterr().out
    file = out / "arrays.zarr" / "norm" / "c" / "4" / "0"
    content = bytearray(file.read_bytes())
    content[5] ^= 8
    file.write_bytes(content)
    shutil.copy(out / "commits" / "00000001.json", out / "commits" / "00000003.json")
    assert cli.main(["study", "--status", str(out), "--verify"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("5 of 6 chunks, 18 of 22 images")
    assert "commits/00000003.json: a copy of the commit of group 1" in printed
    assert "norm/c/4/0: " in printed
    assert "Delete" in printed


def test_the_next_chunk_is_started_before_one_is_written():
    events = []
    run_chunks(
        lambda chunk: events.append(("step", chunk)) or {"x": jnp.full(3, chunk)},
        [(4, (4,), 2), (7, (7,), 2)],
        lambda chunk, arrays: events.append(("write", chunk, arrays["x"].tolist())),
        lambda: False,
    )
    written = [("write", 4, [4, 4]), ("write", 7, [7, 7])]
    assert events == [("step", 4), ("step", 7), *written]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store": ("jacobian",)}, r"store: expected one of maps, .*; got 'jacobian'"),
        ({"chunk": 0}, "chunk: expected at least 1, got 0"),
        ({"images": 0}, "images: expected at least 1, got 0"),
        ({"target": "truth"}, "target: expected one of predicted, label; got 'truth'"),
        ({"storage": "int8"}, "storage: expected one of float16, float32; got 'int8'"),
        ({"estimator": "x"}, "estimator: expected one of plain, .*; got 'x'"),
        ({"steps": 2}, "steps: expected with the estimator integrated_gradients or .*, got plain"),
        ({"estimator": "smooth_grad", "samples": 0}, "samples: expected an integer in .*, got 0"),
        ({"precision": "x"}, "precision: expected one of highest, high, default; got 'x'"),
        ({"split": "test+test"}, r"split: expected each split once, got 'test\+test'"),
        ({"target": (1,)}, r"target: expected int \| str, got \(1,\)"),
        ({"chunk": True}, "chunk: expected int, got True"),
        ({"images": 1.5}, r"images: expected int \| None, got 1.5"),
        ({"preprocess": "no"}, "preprocess: expected bool, got 'no'"),
        ({"methods": "vanilla"}, "methods: expected .*, got 'vanilla'"),
    ],
)
@pytest.mark.usefixtures("no_typecheck")
def test_a_configuration_that_cannot_be(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        StudyConfig(dataset="toys", **fields)


def test_a_target_that_is_no_class_claims_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"target: expected class indices in \[0, 4\], got 11"):
        run(tmp_path / "study", target=11)
    assert not (tmp_path / "study").exists()
