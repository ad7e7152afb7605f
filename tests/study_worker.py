"""A small study in a process of its own, to be killed: `python -m tests.study_worker OUT ...`."""

import argparse
import sys
import time

import jax
import numpy as np

from signsal_jax import cli, data, sharding
from signsal_jax.cli._network import NetworkOptions
from signsal_jax.models import Model
from signsal_jax.study import (
    STORABLE,
    StudyConfig,
    UnfinishedError,
    _leases,
    _workers,
    join_pod,
    run_study,
)
from tests import toys

CLASSES = 5
# What is cheap to compile; the evaluations that are not have studies of their own in their tests.
STORE = tuple(
    name
    for name in STORABLE
    if name
    not in (
        "imputation",
        "small_step",
        "rival",
        "rival_groups",
        "patches",
        "infidelity",
        "sensitivity",
        "randomization",
    )
)


class SlowImages:
    """Random images, the same in every process, each read in `seconds`."""

    def __init__(self, count, seconds):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (count, 6, 6, 2)).astype(np.uint8)
        self.labels = rng.integers(0, CLASSES, count)
        self.seconds = seconds

    def fingerprint(self):
        return data.fingerprint.of_arrays(self.images, self.labels)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return self.images[index], int(self.labels[index])


def model():
    names = tuple("abcde")
    return Model(toys.mlp, toys.mlp_variables(1, CLASSES, 72), names, (6, 6, 2), {"model": "toy"})


def splits(count=22, seconds=0.0):
    source = SlowImages(count, seconds)
    return [data.Dataset("toys:1.0", "test", tuple("abcde"), (6, 6, 2), source)]


def config(**fields):
    defaults = {"dataset": "toys", "store": STORE, "chunk": 4, "fractions": (0.0, 0.1, 0.5)}
    return StudyConfig(**{**defaults, **fields})


def evaluate(options):
    """`signsal evaluate` with the toy network and images in the place of named ones."""
    NetworkOptions.load = lambda self, default=None: model()
    data.load = lambda *_, **__: splits(options.images, options.seconds)[0]
    arguments = ["--dataset", "toys", "--chunk", str(options.chunk), "--fractions", "0", "0.5"]
    return cli.main(["evaluate", *arguments, "--out", options.out])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--images", type=int, default=22)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--store", nargs="+", default=list(STORE), help="little compiles fast")
    parser.add_argument("--class-devices", type=int, default=1)
    parser.add_argument("--port", type=int, help="join through jax.distributed")
    parser.add_argument("--gone", type=float, default=60.0, help="seconds without a sign")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--evaluate", action="store_true", help="the command, with these images")
    options = parser.parse_args()
    if options.evaluate:
        return evaluate(options)
    _workers.GONE_SECONDS, _workers.BEAT_SECONDS = options.gone, options.gone / 12
    _leases.POLL_SECONDS = min(1.0, options.gone / 12)
    if options.port:
        initialize, address = jax.distributed.initialize, f"127.0.0.1:{options.port}"
        # As a pod finds them out.
        jax.distributed.initialize = lambda: initialize(address, options.processes, options.process)
        join_pod()
    mesh = sharding.make_mesh(class_devices=options.class_devices)
    try:
        run_study(
            config(chunk=options.chunk, group=options.group, store=tuple(options.store)),
            model(),
            splits(options.images, options.seconds),
            options.out,
            mesh=mesh,
        )
    except UnfinishedError as error:
        print(error, flush=True)
        return cli.UNFINISHED
    print("complete", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
