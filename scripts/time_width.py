"""Measures class extrema through the features against those through the scores, on CPU.

    pip install -e '.[bench]' && python scripts/time_width.py --case resnet18-1000

Both ways take turns in one process. Writes the figures of a case to scripts/results/width.json,
which docs/guides/width.md quotes.
"""

import dataclasses
import functools
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import tyro

import signsal_jax
from scripts.bench import timing
from scripts.bench.workloads import Workload, images_and_labels, seeded_arrays
from signsal_jax import _files, from_nnx, gradients
from signsal_jax.models import registry
from signsal_jax.models.pretrained import flatten_variables


class Case(NamedTuple):
    """A network and its classes; `measured` of them by scores, the rest extrapolated."""

    workload: Workload
    classes: int
    measured: int


CASES: dict[str, Case] = {
    "cnn-10": Case(Workload("cnn", 128, 32), 10, 10),
    "resnet18-1000": Case(Workload("resnet18", 1, 224), 1000, 1000),
    "vit_ti_16-21841": Case(Workload("vit_ti_16", 1, 224), 21_841, 200),
}


@dataclasses.dataclass(frozen=True)
class Width:
    """Measure class extrema through features and through scores."""

    case: Literal["cnn-10", "resnet18-1000", "vit_ti_16-21841"]
    repeats: int = 3
    """Number of rounds; in each, both ways take their turn."""
    classes: int | None = None
    """Fewer classes, to try it out."""
    measured: int | None = None
    """Classes measured through the scores, the rest extrapolated; None for the case's own."""
    out: Path = Path("scripts/results")
    """Folder for the results."""


def network(case: Case, classes: int) -> tuple[Any, Any]:
    """The apply function and seeded variables of a network with this many classes."""
    apply_fn, variables = from_nnx(registry.create_backbone(case.workload.network, classes))
    flat = flatten_variables(variables)
    arrays = seeded_arrays({path: leaf.shape for path, leaf in flat.items()})
    leaves = [jnp.asarray(arrays[path]) for path in flat]
    return apply_fn, jax.tree.unflatten(jax.tree.structure(variables), leaves)


def measure(command: Width) -> dict[str, Any]:
    """Times and memory of both ways; "auto" where it is not features, to compare with today's."""
    case = CASES[command.case]
    classes = command.classes or case.classes
    measured = min(command.measured or case.measured, classes)
    images = jnp.asarray(images_and_labels(case.workload)[0])
    apply_fn, variables = network(case, classes)
    chosen = gradients.resolve_through("auto", apply_fn, variables, images)
    cut = gradients.narrowest_cut(apply_fn, variables, images)
    ways = ("scores", "features" if chosen == "features" else "auto")
    runs, memory, compiling = {}, {}, {}
    for way in ways:
        count = measured if way == "scores" else classes
        apply_fn, variables = network(case, count)
        extrema = functools.partial(signsal_jax.class_extrema, apply_fn, through=way)
        program, compiling[way] = timing.compiled(jax.jit(extrema), variables, images)
        memory[way] = program.memory_analysis().temp_size_in_bytes / 2**20  # pyright: ignore[reportFunctionMemberAccess]
        runs[way] = functools.partial(_wait, program, variables, images)
        if way == "scores" or classes <= 10:
            runs[way]()  # the first run touches new memory
    seconds = timing.interleave(runs, command.repeats)
    for way, values in seconds.items():
        print(way, values, file=sys.stderr, flush=True)
    whole = [value * classes / measured for value in seconds["scores"]]
    (other,) = (way for way in seconds if way != "scores")
    ratios = [a / b for a, b in zip(whole, seconds[other], strict=True)]
    return {
        "workload": case.workload.description,
        "classes": classes,
        "classes_measured_by_scores": measured,
        "auto": chosen,
        "cut": None if cut is None else {"width": cut.width, "body_flops": cut.body_flops},
        "seconds": {"scores": whole, other: seconds[other]},
        "median_seconds": {
            "scores": statistics.median(whole),
            other: statistics.median(seconds[other]),
        },
        "times_as_fast": statistics.median(ratios),
        "temporary_MiB": memory,
        "compile_seconds": compiling,
        "machine": timing.describe_machine(),
    }


def _wait(program: Any, *arguments: Any) -> None:
    jax.block_until_ready(program(*arguments))


def main() -> int:
    jax.config.update("jax_platforms", "cpu")
    command = tyro.cli(Width, description=__doc__)
    path = command.out / "width.json"
    results: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found = measure(command)
    _files.write_json(path, {**results, command.case: found})
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
