import dataclasses
import os
import random
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
from signsal_jax import data, sharding
from signsal_jax.cli.study import Study
from signsal_jax.store import StudyError, open_study
from signsal_jax.study import StudyConfig, run_chunks
from signsal_jax.study_manifest import status_lines
from signsal_jax.study_run import run_study
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
    flat = jacobian.reshape(*jacobian.shape[:2], -1)
    toys.assert_close(found["norm"], np.linalg.norm(flat, axis=2))
    toys.assert_close(found["gram"], np.einsum("bip,bjp->bij", flat, flat))
    signs = np.sign(flat)
    toys.assert_close(found["sign_agreement"], np.einsum("bip,bjp->bij", signs, signs) / 72)
    assert summary["images"] == summary["valid"] == 22
    agreement = found["agreement"].mean(0, dtype=np.float64)
    np.testing.assert_allclose(summary["mean"]["agreement"], agreement, rtol=1e-12)


@pytest.mark.parametrize(("devices", "class_devices"), [(8, 2)])
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


def worker(out, *options, environment=None):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"), "JAX_NUM_CPU_DEVICES": "1"}
    cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.study_worker", str(out), *options],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **cache, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_committed(process, out, chunks):
    """Waits for that many commits, or for the end of the process."""
    while process.poll() is None and len(list(out.glob("commits/0*.json"))) < chunks:
        time.sleep(0.01)


def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(undisturbed, tmp_path):
    out, rng, kills = tmp_path / "killed", random.Random(0), 0
    for committed in (1, 3):
        process = worker(out, "--seconds", "0.1")
        until_committed(process, out, committed)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 2
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("commits/*.json")}
    assert 0 < len(before) < 6
    log, _ = worker(out).communicate(timeout=200)
    assert "complete" in log, log
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("commits/*.json")}
    assert before.items() <= after.items()
    assert_identical(undisturbed[0], out)


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


def test_two_processes_give_the_bits_of_one(undisturbed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = ("--port", port, "--processes", "2", "--process")
    processes = [worker(tmp_path / "two", *shared, str(index)) for index in range(2)]
    logs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert "complete" in logs[0]
    assert_identical(undisturbed[0], tmp_path / "two")


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
