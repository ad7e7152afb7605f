"""Training over several devices and processes: the weights of one, and what is communicated."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from signsal_jax import checkpoint, data, models, nn, sharding
from signsal_jax.models import layers
from signsal_jax.nn import _choice
from tests import tiny_training
from train import loop, step as steps
from train.config import TrainConfig

OPTIONS = {"epochs": 4, "batch_size": 8, "checkpoint_every": 6, "learning_rate": 0.05}
STEPS = 20


@pytest.fixture(scope="module")
def tiny():
    """A small network and small data in the place of the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "create", tiny_training.create)
        patch.setattr(data, "load", tiny_training.load)
        yield


@pytest.fixture(scope="module")
def one_device(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("devices") / "one"
    loop.train(TrainConfig(out=run, **OPTIONS), devices=jax.devices()[:1])
    return run


def weights(run):
    """Weights, batch statistics and the optimizer's state after the last step."""
    with checkpoint.manager(run, read_only=True) as opened:
        return opened.restore(STEPS, args=ocp.args.PyTreeRestore())


def assert_close(run, other):
    first, second = weights(run), weights(other)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5, rtol=1e-5)
    summaries = [json.loads((folder / loop.SUMMARY).read_text()) for folder in (run, other)]
    assert summaries[0]["test_accuracy"] == pytest.approx(summaries[1]["test_accuracy"], abs=1e-6)


def two_processes(out):
    """Both processes of one training, on one device each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    shared = ["--distributed", "--coordinator", address, "--processes", "2", "--process"]
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.tiny_training", "--out", str(out)),
                *(*options, *shared, str(process)),
            ],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(out.parent / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]


def outputs(processes, code):
    logs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [code] * 2, logs
    return logs


def break_off(patch, run, at):
    """Trains on eight devices up to the step before `at`."""
    original = data.training_batches

    class Interrupted:
        def __init__(self, stream):
            self.stream = stream

        def __getitem__(self, step):
            if step + 1 == at:
                raise KeyboardInterrupt
            return self.stream[step]

    patch.setattr(data, "training_batches", lambda *a, **o: Interrupted(original(*a, **o)))
    with pytest.raises(KeyboardInterrupt):
        loop.train(TrainConfig(out=run, **OPTIONS))


def test_eight_devices_give_the_weights_of_one(tiny, one_device, tmp_path):
    loop.train(TrainConfig(out=tmp_path / "eight", **OPTIONS))
    assert_close(tmp_path / "eight", one_device)


def test_one_device_goes_on_where_eight_stopped(tiny, one_device, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        break_off(patch, run, 15)
    loop.train(TrainConfig(out=run, **OPTIONS), devices=jax.devices()[:1])
    assert_close(run, one_device)


def test_two_processes_give_the_weights_of_one(tiny, one_device, tmp_path, monkeypatch):
    """From the start, and where eight devices of one process stopped; and that one goes on."""
    fresh, resumed, refused = (tmp_path / name for name in ("fresh", "resumed", "refused"))
    with monkeypatch.context() as patch:
        break_off(patch, resumed, 8)
    refused.mkdir()
    (refused / "thesis.tex").write_text("mine")
    started = [two_processes(out) for out in (fresh, resumed, refused)]
    for processes in started[:2]:
        (said, _), (others, _) = outputs(processes, 0)
        assert "test accuracy" in said
        assert "test accuracy" not in others  # Gloo may say something of its own
    (_, reason), (_, other) = outputs(started[2], 1)
    assert "holds other files" in reason
    assert "process 0 failed" in other
    assert_close(fresh, one_device)
    assert_close(resumed, one_device)
    steps_written = (fresh / "metrics.csv").read_text().split("\n")[1:-1]
    assert [row.split(",")[0] for row in steps_written] == ["6", "12", "18", "20"]

    shutil.rmtree(fresh / "checkpoints" / str(STEPS))
    loop.train(TrainConfig(out=fresh, **OPTIONS))
    assert_close(fresh, one_device)


def test_a_batch_that_the_devices_do_not_divide_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"a multiple of the 8 devices.*12"):
        loop.train(TrainConfig(out=tmp_path / "run", batch_size=12))
    assert not (tmp_path / "run").exists()


def test_the_parts_of_a_batch_are_the_batch():
    source = data.Arrays(np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1), np.zeros(10))
    whole = data.training_batches(source, 4, seed=1)
    parts = [data.training_batches(source, 2, seed=1, part=(i, 2)) for i in range(2)]
    for step in (0, 1, 2, 7):  # across the ends of epochs
        images = np.concatenate([part[step][0] for part in parts]).ravel()
        np.testing.assert_array_equal(np.sort(images), np.sort(whole[step][0].ravel()))


# What is communicated.


class Layers(nnx.Module):
    """The ways of computing a convolution on CPU that regroup most axes, pool and norm."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.stem = layers.Conv(3, 32, 7, strides=2, padding=3, rngs=rngs)
        self.norm = layers.batch_norm(32, rngs=rngs)
        self.winograd = layers.Conv(32, 32, 3, padding=1, rngs=rngs)
        self.linear = layers.Linear(32, 4, rngs=rngs)

    def __call__(self, images):
        x = nn.max_pool(jax.nn.relu(self.norm(self.stem(images))), window=3, strides=2, padding=1)
        return self.linear(self.winograd(x).mean((1, 2)))


COLLECTIVE = re.compile(
    r"= (.+?) (all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter)(?:-start)?\("
)


@pytest.mark.parametrize("cache", [_choice._MIN_STREAMED_BYTES, 1])
def test_gradients_and_batch_statistics_are_all_that_is_communicated(monkeypatch, cache):
    """Also where kernels' gradients are summed over one image after the other."""
    monkeypatch.setattr(_choice, "_MIN_STREAMED_BYTES", cache)
    monkeypatch.setattr(_choice, "_MIN_STREAMED_PIXELS", 1)
    mesh = sharding.make_mesh(jax.devices())
    graph, state = steps.init(Layers(), optax.sgd(1.0))
    largest = max(leaf.size for leaf in jax.tree.leaves(state))
    images, labels = np.zeros((64, 16, 16, 3), np.float32), np.zeros(64, np.int32)
    batch = [sharding.place(mesh, part) for part in (images, labels)]
    step: Any = steps.make_train_step(graph, optax.sgd(1.0), mesh)
    program = step.lower(sharding.replicate(mesh, state), *batch).compile().as_text()
    found = COLLECTIVE.findall(program)
    assert {kind for _, kind in found} == {"all-reduce"}
    for shapes, _ in found:
        for shape in re.findall(r"\[([\d,]*)\]", shapes):
            assert math.prod(int(n) for n in shape.split(",") if n) <= largest
    # None within a loop, where it would come once per image.
    loops = re.findall(r"body=%?([\w.-]+)", program)
    bodies = [re.split(r"\n}", program.partition(f"%{loop} (")[2])[0] for loop in loops]
    assert bool(loops) == (cache == 1)
    assert all(bodies)
    assert not any(COLLECTIVE.search(body) for body in bodies)
