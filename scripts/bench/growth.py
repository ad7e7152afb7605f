"""Measures the growth of the time for all five maps with classes, images and pixels."""

import functools
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import signsal_jax
from scripts.bench import timing
from scripts.bench.workloads import NUM_CLASSES, Workload, images_and_labels, seeded_network
from signsal_jax import _files

CLASS_CHUNK = 10
_COLORS = {"cnn": "tab:blue", "resnet18": "tab:orange"}


class Axis(NamedTuple):
    """The quantity that grows, and its values; the others stay as in `Growth`."""

    name: str
    values: tuple[int, ...]


class Growth(NamedTuple):
    """The measurements; `batch` and `size` hold for every axis that does not vary them."""

    axes: tuple[Axis, ...]
    batch: int
    size: int
    repeats: int


FULL = Growth(
    (
        Axis("classes", (10, 100, 1000)),
        Axis("images", (8, 16, 32, 64, 128)),
        Axis("pixels", tuple(size**2 for size in (32, 64, 96, 128, 160, 224))),
    ),
    batch=4,
    size=32,
    repeats=5,
)
QUICK = Growth(
    (Axis("classes", (10, 20)), Axis("images", (1, 2)), Axis("pixels", (32**2, 48**2))),
    batch=1,
    size=32,
    repeats=1,
)


def _seconds(workload: Workload, classes: int, repeats: int) -> dict[str, float]:
    apply_fn, variables = signsal_jax.from_nnx(seeded_network(workload, classes)[0])
    images = jnp.asarray(images_and_labels(workload)[0])
    fn = functools.partial(signsal_jax.saliency_maps, apply_fn, class_chunk=CLASS_CHUNK)
    executable, compile_seconds = timing.compiled(fn, variables, images)

    def run() -> None:
        jax.block_until_ready(executable(variables, images))

    run()
    seconds = statistics.median(timing.interleave({"ours": run}, repeats)["ours"])
    return {"seconds": seconds, "compile_seconds": compile_seconds}


def _point(growth: Growth, network: str, axis: str, value: int) -> dict[str, float]:
    batch = value if axis == "images" else growth.batch
    size = math.isqrt(value) if axis == "pixels" else growth.size
    classes = value if axis == "classes" else NUM_CLASSES
    measured = _seconds(Workload(network, batch, size), classes, growth.repeats)
    return {axis: value, **measured}


def exponents(values: list[float], seconds: list[float]) -> list[float]:
    """The power by which time grows from each point to the next: 1 is linear, below is better.

    >>> exponents([1, 2, 4], [3.0, 6.0, 24.0])
    [1.0, 2.0]
    """
    return [
        math.log(seconds[i + 1] / seconds[i]) / math.log(values[i + 1] / values[i])
        for i in range(len(values) - 1)
    ]


def measure(*, quick: bool) -> dict[str, Any]:
    """Seconds by axis and network, with the exponents between neighbors."""
    growth = QUICK if quick else FULL
    curves: dict[str, Any] = {}
    for axis in growth.axes:
        curves[axis.name] = {}
        for network in _COLORS:
            points = [_point(growth, network, axis.name, value) for value in axis.values]
            times = [point["seconds"] for point in points]
            powers = exponents([*map(float, axis.values)], times)
            curves[axis.name][network] = {"points": points, "exponents": powers}
    return {
        "batch": growth.batch,
        "size": growth.size,
        "class_chunk": CLASS_CHUNK,
        "curves": curves,
    }


def _draw(results: dict[str, Any], machine: dict[str, Any]) -> Figure:
    fixed = {
        "classes": f"{results['batch']} images of {results['size']}²",
        "images": f"{NUM_CLASSES} classes, {results['size']}²",
        "pixels": f"{NUM_CLASSES} classes, {results['batch']} images",
    }
    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (axis, networks) in zip(
        figure.subplots(1, len(results["curves"])), results["curves"].items(), strict=True
    ):
        for network, curve in networks.items():
            values = [point[axis] for point in curve["points"]]
            seconds = [point["seconds"] for point in curve["points"]]
            color = _COLORS[network]
            axes.loglog(values, seconds, "o-", color=color, label=network)
            linear = [seconds[0] * value / values[0] for value in values]
            axes.loglog(values, linear, ":", color=color, label=f"{network}, linear")
            axes.set_xticks(values, [f"{value:,}" for value in values], rotation=45)
        axes.minorticks_off()
        axes.set(xlabel=f"{axis} ({fixed[axis]})", title=f"time against {axis}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("all five maps [s]")
    figure.axes[0].legend()
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads, float32")
    return figure


def write_figure(path: Path, results: dict[str, Any], machine: dict[str, Any]) -> Path:
    """One panel per axis, both scales logarithmic, with linear growth as a dotted line."""
    figure = _draw(results, machine)
    return _files.write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120))
