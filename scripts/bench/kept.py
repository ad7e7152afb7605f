"""A run that renews some results and keeps the others, each with the run that it is from."""

from collections.abc import Mapping
from typing import Any

from scripts.bench import cases, streamed

_RUN = ("machine", "matrix_product", "repeats")
_PARTS = {"streamed": streamed.NAME, "growth": "growth"}


def _names(results: Mapping[str, Any]) -> list[str]:
    """The names of all that was measured, whether or not both sides agreed."""
    measured = [*(case["name"] for case in results["cases"]), *results["failed"]]
    return measured + [name for part, name in _PARTS.items() if part in results]


def check(before: Mapping[str, Any], *, quick: bool) -> None:
    """Raises ValueError where results of quick and of full runs would stand side by side."""
    if before["quick"] != quick:
        kind = "quick" if before["quick"] else "full"
        raise ValueError(
            f"keep: expected results of a run like this one, got those of a {kind} run"
        )


def merged(before: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """`results`, and whatever `before` has that was not measured again.

    `earlier` lists the runs of what was kept: machine, matrix product, repeats, and its names.
    """
    renewed = set(_names(results))
    earlier = list(before.get("earlier", []))
    older = {name for run in earlier for name in run["names"]}
    own = [name for name in _names(before) if name not in older]
    earlier.append({key: before[key] for key in _RUN} | {"names": own})
    left = [run | {"names": [n for n in run["names"] if n not in renewed]} for run in earlier]
    kept = [case for case in before["cases"] if case["name"] not in renewed]
    failed = {name: why for name, why in before["failed"].items() if name not in renewed}
    order = cases.names()
    return {
        **{part: before[part] for part in _PARTS if part in before},
        **results,
        "cases": sorted([*kept, *results["cases"]], key=lambda case: order.index(case["name"])),
        "failed": failed | results["failed"],
        "earlier": [run for run in left if run["names"]],
    }
