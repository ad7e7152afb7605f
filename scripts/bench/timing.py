"""Timing of several functions in turn, and a description of the machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_PAUSE = 0.02  # seconds, so that one side's idle threads stop spinning before the other's turn
_MATRIX_SIZES = (512, 1024, 2048, 3072)


def threads() -> int:
    """The number of cores that this process may use, and so the threads of both sides."""
    return len(os.sched_getaffinity(0))


def interleave(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times all runs in turn, in seconds; each round starts with a different one."""
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE)
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """The median and the quartiles."""
    if len(values) < 2:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def compiled(fn: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
    """The compiled function, and the seconds that tracing, lowering and compiling took."""
    jitted = fn if hasattr(fn, "lower") else jax.jit(fn)
    start = time.perf_counter()
    executable: Any = jitted.lower(*args).compile()  # pyright: ignore[reportFunctionMemberAccess]
    return executable, time.perf_counter() - start


def matrix_product_rate(repeats: int = 7) -> dict[str, float]:
    """The best FLOP/s of a float32 matrix product over a few sizes, and the size that gave it."""
    rates = {}
    product = jax.jit(jnp.matmul)
    for size in _MATRIX_SIZES:
        matrix = jnp.ones((size, size)) / size
        product(matrix, matrix).block_until_ready()
        runs = {"product": lambda m=matrix: product(m, m).block_until_ready()}
        rates[size] = 2 * size**3 / min(interleave(runs, repeats)["product"])
    best = max(rates, key=lambda size: rates[size])
    return {"flops_per_second": rates[best], "size": best}


def describe_machine() -> dict[str, Any]:
    """The hardware, system and versions, for comparison with other machines."""
    packages = ("signsal_jax", "jax", "jaxlib", "flax", "optax", "torch")
    return {
        "cpu": _cpu_name(),
        "threads": threads(),
        "system": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages if util.find_spec(name)},
        },
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
