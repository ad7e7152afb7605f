"""Prints the recorded plans of scripts/results as one Markdown table.

    python scripts/plan_table.py

`signsal plan` made each of them, with --out scripts/results/plan-MODEL-TOPOLOGY.json. The column
"through" has the number of features whose gradients are computed instead of the classes'.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def _row(plan: dict[str, Any]) -> list[str]:
    workload, chips, time = plan["workload"], plan["chip"]["chips"], plan["time"]
    name = f"{workload['model']}, {workload['classes']:,} classes, {workload['topology']}"
    if workload["class_devices"] > 1:
        name += f", each image over {workload['class_devices']}"
    moved = sum(kind["bytes"] for kind in plan["collectives_per_step"].values())
    return [
        name,
        str(chips),
        str(plan.get("through", {}).get("width", "scores")),
        f"{plan['memory_bytes_per_chip']['total'] / 1e9:.1f} of "
        f"{plan['chip']['hbm_bytes'] / 1e9:.0f} GB",
        f"{plan['flops_per_image'] / 1e12:.2f}",
        f"{plan['flops_per_chip_and_step'] / 1e12:.1f}",
        f"{moved / 1e6:.1f} MB" if moved else "none",
        f"{time['hours']:.1f}",
        f"{time['chip_hours']:.0f}",
    ]


def table() -> str:
    """One row per recorded plan."""
    plans = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("plan-*.json"))]
    head = [
        "network, topology",
        "chips",
        "through",
        "memory per chip",
        "TFLOP per image",
        "TFLOP per chip and step",
        "collectives per step",
        "hours",
        "chip-hours",
    ]
    lines = [head, ["---"] * len(head), *(_row(plan) for plan in plans)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
