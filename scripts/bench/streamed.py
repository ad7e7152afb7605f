"""Measures streaming over a thousand classes: memory against the full Jacobian, time per class.

The memory of each way is measured in a process of its own, which runs this module.
"""

import functools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import signsal_jax
from scripts.bench import timing
from scripts.bench.workloads import NUM_CLASSES, Workload, images_and_labels, seeded_network

NAME = "streamed-resnet18-224"
ROOT = Path(__file__).parents[2]
_STREAMED, _FULL, _AT_ONCE = "streamed", "full Jacobian, in chunks", "full Jacobian, at once"


class Setting(NamedTuple):
    """A workload, its number of classes, and the number of classes computed at a time."""

    workload: Workload
    classes: int
    class_chunk: int
    repeats: int


SETTING = Setting(Workload("resnet18", 4, 224), classes=1000, class_chunk=10, repeats=3)
QUICK = Setting(Workload("resnet18", 2, 32), classes=40, class_chunk=10, repeats=1)


def _compiled(way: str, setting: Setting, classes: int) -> tuple[Any, tuple[Any, jax.Array], float]:
    apply_fn, variables = signsal_jax.from_nnx(seeded_network(setting.workload, classes)[0])
    images = jnp.asarray(images_and_labels(setting.workload)[0])
    # One pullback per class: through the features there is nothing to stream over classes.
    by_class = functools.partial(signsal_jax.class_extrema, through="scores")
    computed: Callable[..., Any] = by_class if way == _STREAMED else signsal_jax.signed_jacobian
    chunk = None if way == _AT_ONCE else setting.class_chunk
    fn = functools.partial(computed, apply_fn, class_chunk=chunk)
    executable, seconds = timing.compiled(fn, variables, images)
    return executable, (variables, images), seconds


def _planned_bytes(executable: Any) -> int:
    """The bytes that the compiler plans for temporaries and results."""
    analysis = executable.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"expected {field} in /proc/self/status, found none")


def measured_bytes(run: Callable[[], Any]) -> int:
    """The rise of this process's resident memory during a run, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def _memory(way: str, setting: Setting) -> dict[str, int]:
    """Planned and measured bytes of one run, in this process."""
    executable, args, _ = _compiled(way, setting, setting.classes)
    measured = measured_bytes(lambda: jax.block_until_ready(executable(*args)))
    return {"planned_bytes": _planned_bytes(executable), "measured_bytes": measured}


def _memory_of_own_process(way: str, setting: Setting) -> dict[str, int]:
    command = [sys.executable, "-m", "scripts.bench.streamed", way, json.dumps(setting)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {way!r} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def measure(*, quick: bool) -> dict[str, Any]:
    """Peak memory of every way, and the time per class at ten classes and at all."""
    setting = QUICK if quick else SETTING
    memory: dict[str, Mapping[str, int]] = {
        way: _memory_of_own_process(way, setting) for way in (_STREAMED, _FULL)
    }
    # Pulling 1000 classes back together takes tens of gigabytes: planned, never run.
    memory[_AT_ONCE] = {
        "planned_bytes": _planned_bytes(_compiled(_AT_ONCE, setting, setting.classes)[0])
    }

    runs, compile_seconds = {}, {}
    for classes in (NUM_CLASSES, setting.classes):
        executable, args, compile_seconds[classes] = _compiled(_STREAMED, setting, classes)
        runs[str(classes)] = functools.partial(_run, executable, args)
        runs[str(classes)]()
    seconds = timing.interleave(runs, setting.repeats)
    return {
        "workload": setting.workload.description,
        "classes": setting.classes,
        "class_chunk": setting.class_chunk,
        "memory": memory,
        "seconds_per_class": {
            classes: statistics.median(values) / int(classes) for classes, values in seconds.items()
        },
        "compile_seconds": compile_seconds[setting.classes],
    }


def _run(executable: Any, args: tuple) -> None:
    jax.block_until_ready(executable(*args))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    _workload, *_rest = json.loads(sys.argv[2])
    print(json.dumps(_memory(sys.argv[1], Setting(Workload(*_workload), *_rest))))
