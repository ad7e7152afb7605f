"""What the recorded deletion curves of a column of the paper say, in words."""

from typing import Any


def areas(results: dict[str, Any]) -> dict[Any, str]:
    """Every curve's area with its interval; results recorded before the controls have none."""
    curves = [*results["curves"], *results.get("controls", ())]
    return {
        (curve["fill"], curve["map"].replace("random_0", "random order")): (
            f"{curve['auc']['mean']:.4f} ({curve['auc']['low']:.4f} to {curve['auc']['high']:.4f})"
        )
        for curve in curves
    }


def to_random(kept: dict[str, Any]) -> str:
    """Says how each map stands to deletion in random order, by paired difference."""
    found: dict[str, list[str]] = {"below": [], "not distinguished from": [], "above": []}
    for split, results in kept.items():
        for curve in [*results["curves"], *results.get("controls", ())]:
            difference = curve.get("auc_minus_random")
            if difference is None or curve["map"].startswith("random"):
                continue
            low, high = difference["low"], difference["high"]
            where = "below" if high < 0 else "above" if low > 0 else "not distinguished from"
            found[where].append(
                f"{curve['map']} ({curve['fill']}, {split}: {difference['mean']:+.4f})"
            )
    parts = [f"{where} it: {', '.join(maps)}" for where, maps in found.items() if maps]
    return f"Against a random order, {'; '.join(parts)}." if parts else ""


def verdict(kept: dict[str, Any]) -> str:
    """Names the signed maps not better than vanilla, by paired difference and at curves' ends."""
    worse = [
        f"{curve['map']} ({curve['fill']}, {split})"
        for split, results in kept.items()
        for curve in results["curves"]
        if curve["map"] != "vanilla" and curve["auc_minus_vanilla"]["high"] >= 0
    ]
    if worse:
        text = f"Not shown to be better than vanilla: {', '.join(worse)}."
    else:
        text = "Every signed map is below vanilla, also by the interval of the paired difference."
    ends = [
        f"{curve['map']} ({curve['fill']}, {split}: {curve['deleted'][-1]:.0%} deleted)"
        for split, results in kept.items()
        for curve in results["curves"]
        if curve["fidelity"][-1] > _vanilla(results, curve["fill"])["fidelity"][-1]
    ]
    if not ends:
        return text
    last = next(iter(kept.values()))["fractions"][-1]
    return (
        f"{text} At the end of the curves, where {last:.0%} is to be deleted and sparse maps "
        f"delete less, vanilla's fidelity is below that of {', '.join(ends)}."
    )


def _vanilla(results: dict[str, Any], fill: str) -> dict[str, Any]:
    return next(c for c in results["curves"] if (c["fill"], c["map"]) == (fill, "vanilla"))
