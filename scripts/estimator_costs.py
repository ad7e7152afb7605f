"""Measures what each gradient method costs: time relative to plain, memory over classes.

    pip install -e '.[bench]' && python scripts/estimator_costs.py --out scripts/results

Writes estimator_costs.json and the table of docs/guides/methods.md.
"""

import dataclasses
import functools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

import signsal_jax
from scripts.bench import timing
from scripts.bench.workloads import Workload, images_and_labels, seeded_network
from signsal_jax import _files, gradients

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "methods.md"
_SAMPLED = ("samples", "steps")


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measure what each gradient method costs."""

    repeats: int = 5
    """Number of rounds; in each, every method takes its turn."""
    samples: int = 8
    """Samples or steps of the methods that average."""
    only: tuple[str, ...] = ()
    """Measure these methods alone, beside plain, and keep the other rows of the results."""
    quick: bool = False
    """Two small images and one round: shows that it works."""
    out: Path = Path("runs/costs")
    """Folder for the results."""


def estimators(samples: int, side: int = 32) -> dict[str, gradients.Estimator]:
    """Every estimator with a name, with this many samples or steps.

    Occlusion hides a quarter of the image's side in steps of an eighth: 49 places at every size.
    """
    made = {}
    for name in gradients.NAMES:
        if name == "occlusion":
            made[name] = gradients.occlusion(window=side // 4, stride=side // 8)
            continue
        for setting in (*_SAMPLED, None):
            try:
                settings = {} if setting is None else {setting: samples}
                made[name] = gradients.named_estimator(name, **settings)
            except ValueError:
                continue
            break
    return made


def compiled(workload: Workload, classes: int, estimator: gradients.Estimator) -> Any:
    """The compiled extrema of all classes, one class at a time, and its arguments."""
    network, _ = seeded_network(workload, classes)
    apply_fn, variables = signsal_jax.from_nnx(network)
    images = jnp.asarray(images_and_labels(workload)[0])
    settings = {"estimator": estimator, "class_chunk": 1}
    extrema = functools.partial(signsal_jax.class_extrema, apply_fn, **settings)
    return jax.jit(extrema).lower(variables, images).compile(), (
        variables,
        images,
    )


def measure(command: Costs) -> dict[str, Any]:
    """Times and memory of every estimator."""
    small = Workload("cnn", 2 if command.quick else 128, 32)
    workloads = [small] if command.quick else [small, Workload("resnet18", 4, 224)]
    names = [name for name in gradients.NAMES if name in ("plain", *(command.only or [name]))]
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    for workload in workloads:
        runs = {}
        made = estimators(command.samples, workload.size)
        for name in names:
            program, arguments = compiled(workload, 10, made[name])
            runs[name] = functools.partial(_wait, program, *arguments)
            runs[name]()  # the first run touches new memory
        seconds = timing.interleave(runs, 1 if command.quick else command.repeats)
        for name, values in seconds.items():
            ratios = [a / b for a, b in zip(values, seconds["plain"], strict=True)]
            rows[name][workload.description] = statistics.median(ratios)
        print(f"{workload.description}: done", file=sys.stderr, flush=True)
    made = estimators(command.samples)
    for name in names:
        for classes in (10, 1000):
            program, _ = compiled(small, classes, made[name])
            rows[name][f"MiB, {classes}"] = program.memory_analysis().temp_size_in_bytes / 2**20
    return {"machine": timing.describe_machine(), "samples": command.samples, "rows": rows}


def _wait(program: Any, *arguments: Any) -> None:
    jax.block_until_ready(program(*arguments))


def render(results: dict[str, Any]) -> str:
    """The table in Markdown."""
    columns = list(results["rows"]["plain"])
    heads = [
        f"{column} classes" if column.startswith("MiB") else f"{column}, time" for column in columns
    ]
    lines = [f"| estimator | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in results["rows"].items():
        cells = [
            f"{row[column]:,.0f}" if column.startswith("MiB") else f"{row[column]:.2f}"
            for column in columns
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    jax.config.update("jax_platforms", "cpu")
    command = tyro.cli(Costs, description=__doc__)
    path = command.out / "estimator_costs.json"
    results = measure(command)
    if command.only:
        before = json.loads(path.read_text(encoding="utf-8"))["rows"]
        rows = before | {name: results["rows"][name] for name in command.only}
        results["rows"] = {name: rows[name] for name in gradients.NAMES if name in rows}
    _files.write_json(path, results)
    table = render(results)
    print(table)
    if not command.quick:
        before, _, rest = GUIDE.read_text(encoding="utf-8").partition("<!-- costs -->\n")
        _, _, after = rest.partition("<!-- end -->")
        text = f"{before}<!-- costs -->\n{table}\n<!-- end -->{after}"
        _files.write_text(GUIDE, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
