"""A worker of a small study that needs no data set, for `scripts/kill_study.py`.

    python -m scripts.kill_worker OUT --images 3000 --chunk 8 --group 3

A small network with random weights, on random images: it starts fast, so it can be killed often.
"""

import argparse
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import data, sharding
from signsal_jax.cli import UNFINISHED
from signsal_jax.models import Model
from signsal_jax.study import StudyConfig, UnfinishedError, _leases, _workers, run_study

STORE = ("maps", "logits", "runner_up", "shares", "rivals", "norm", "gram", "sign_agreement")
_CLASSES, _SIDE, _CHANNELS = 8, 12, 24


def network() -> Model:
    """Two convolutions and a linear layer, with random weights."""
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 3, 3, _CHANNELS), "b": (3, 3, _CHANNELS, _CHANNELS)}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["c"] = rng.normal(0, 0.2, (_CHANNELS, _CLASSES)).astype(np.float32)

    def apply_fn(variables: dict[str, Array], images: Array) -> Array:
        values = images
        for name in "ab":
            values = jax.nn.relu(
                jax.lax.conv_general_dilated(
                    values,
                    variables[name],
                    (1, 1),
                    "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
        return jnp.einsum("bhwc,ck->bk", values, variables["c"], precision="highest")

    names = tuple(f"class {index}" for index in range(_CLASSES))
    return Model(apply_fn, weights, names, (_SIDE, _SIDE, 3), {"model": "kill_worker"})


def images(count: int) -> data.Dataset:
    """Random images, the same in every process."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (count, _SIDE, _SIDE, 3)).astype(np.uint8)
    labels = rng.integers(0, _CLASSES, count)
    names = network().class_names
    return data.Dataset("noise:1.0", "test", names, (_SIDE, _SIDE, 3), data.Arrays(pixels, labels))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--group", type=int, required=True)
    parser.add_argument("--gone", type=float, default=_workers.GONE_SECONDS)
    options = parser.parse_args(arguments)
    _workers.GONE_SECONDS, _workers.BEAT_SECONDS = options.gone, options.gone / 12
    _leases.POLL_SECONDS = min(1.0, options.gone / 12)
    config = StudyConfig(dataset="noise", store=STORE, chunk=options.chunk, group=options.group)
    splits = [images(options.images)]
    try:
        run_study(config, network(), splits, options.out, mesh=sharding.make_mesh())
    except UnfinishedError as error:
        print(error, file=sys.stderr)
        return UNFINISHED
    return 0


def forked(arguments: list[str], log: str) -> None:
    """Runs the worker in a process that was forked, and ends it with the worker's status."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(main(arguments))


if __name__ == "__main__":
    sys.exit(main())
