import dataclasses
import random
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
from scripts import kill_study
from signsal_jax import data, sharding
from signsal_jax.cli.study import Study
from signsal_jax.evaluations import insertion_curve
from signsal_jax.evaluations.entry import ArraySpec, Entry
from signsal_jax.evaluations.registry import ENTRIES
from signsal_jax.study import (
    StudyConfig,
    StudyError,
    array_specs,
    open_study,
    run_study,
    study_step,
)
from signsal_jax.study._manifest import status_lines
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


def shared_by(count):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = ("--port", str(free.getsockname()[1]), "--processes", str(count), "--process")
    return [(*shared, str(index)) for index in range(count)]


def until_committed(process, out, chunks):
    """Waits for that many commits, or for the end of the process."""
    while process.poll() is None and len(kill_study.commits(out)) < chunks:
        time.sleep(0.01)


@pytest.mark.usefixtures("worker_environment")
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(
    undisturbed, tmp_path, monkeypatch, processes
):
    monkeypatch.setattr(kill_study, "GRACE_SECONDS", 1)
    out = tmp_path / "killed"

    def commands(seconds):
        shares = shared_by(processes) if processes > 1 else [()]
        return [command(out, "--seconds", seconds, *share) for share in shares]

    history = kill_study.disturb(lambda: commands("0.5"), out, 2, random.Random(0), longest_wait=4)
    assert 0 < history[1]["committed_after"] < 6
    kill_study.finish(lambda: commands("0"), out)
    assert kill_study.differing(out, undisturbed[0]) == []


@pytest.mark.usefixtures("worker_environment")
def test_sigterm_finishes_the_chunk_and_exits_with_0(tmp_path):
    out = tmp_path / "stopped"
    process = worker(out, "--seconds", "0.1")
    until_committed(process, out, 1)
    process.terminate()
    log, _ = process.communicate(timeout=200)
    assert process.returncode == 0, log
    assert "stopped" in log
    store = open_study(out)
    assert 1 <= len(store.committed()) < store.chunks
    store.check()


@pytest.mark.usefixtures("worker_environment")
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_give_the_bits_of_one(undisturbed, tmp_path, count):
    processes = [worker(tmp_path / "several", *share) for share in shared_by(count)]
    logs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, logs
    assert "complete" in logs[0]
    assert_identical(undisturbed[0], tmp_path / "several")


def test_the_next_chunk_is_started_before_one_is_written():
    events = []
    run_chunks(
        lambda chunk: events.append(("step", chunk)) or {"x": jnp.full(3, chunk)},
        [4, 7],
        lambda chunk: ((chunk,), 2),
        lambda chunk, arrays: events.append(("write", chunk, arrays["x"].tolist())),
        lambda: False,
    )
    written = [("write", 4, [4, 4]), ("write", 7, [7, 7])]
    assert events == [("step", 4), ("step", 7), *written]


def test_flags_win_over_the_file(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('dataset = "cifar10"\nchunk = 8\nstore = ["logits"]\nrule = "exact"\n')
    config = Study(config=file, chunk=64, out="x").study_config()
    assert config == StudyConfig(dataset="cifar10", chunk=64, store=("logits",), rule="exact")
    file.write_text("colour = 1\n")
    with pytest.raises(ValueError, match=r"expected fields of dataset, .*; got colour"):
        Study(config=file).study_config()
    with pytest.raises(ValueError, match="expected --out DIR"):
        Study(dataset="cifar10").run_command()


def test_every_field_is_a_flag():
    flags = {field.name for field in dataclasses.fields(Study)}
    assert {field.name for field in dataclasses.fields(StudyConfig)} <= flags


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store": ("jacobian",)}, r"store: expected one of maps, .*; got 'jacobian'"),
        ({"chunk": 0}, "chunk: expected at least 1, got 0"),
        ({"images": 0}, "images: expected at least 1, got 0"),
        ({"target": "truth"}, "target: expected one of predicted, label; got 'truth'"),
        ({"storage": "int8"}, "storage: expected one of float16, float32; got 'int8'"),
    ],
)
def test_a_configuration_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(dataset="toys", **fields)


def test_a_target_that_is_no_class_claims_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"target: expected class indices in \[0, 4\], got 11"):
        run(tmp_path / "study", target=11)
    assert not (tmp_path / "study").exists()
