"""Tables of an evaluation in Markdown and CSV."""

import csv
import io
from typing import Any

_HEADER = ("deletion", "map", "AUC", "95 % interval", "AUC - vanilla", "95 % interval", "deleted")


def _range(bounds: dict[str, float]) -> str:
    return f"{bounds['low']:.4f} to {bounds['high']:.4f}"


def deletions(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Every deletion curve: of the maps, of the controls, and those with imputed pixels."""
    return [
        curve for part in ("curves", "controls", "imputation") for curve in summary.get(part, [])
    ]


def table_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """The AUC table, one row a curve; "deleted": the share really deleted at the last fraction."""
    rows = []
    for curve in deletions(summary):
        against = curve["auc_minus_vanilla"] if curve["map"] != "vanilla" else None
        rows.append(
            (
                curve["fill"],
                curve["map"],
                f"{curve['auc']['mean']:.4f}",
                _range(curve["auc"]),
                "" if against is None else f"{against['mean']:+.4f}",
                "" if against is None else _range(against),
                f"{curve['deleted'][-1]:.3f}",
            )
        )
    return rows


def markdown_table(summary: dict[str, Any]) -> str:
    """The AUC table in Markdown."""
    lines = [_HEADER, ("---",) * len(_HEADER), *table_rows(summary)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def csv_table(summary: dict[str, Any]) -> str:
    """The AUC table as CSV, in full precision, one figure a column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = ("mean", "low", "high")
    writer.writerow(
        ["fill", "map"]
        + [f"auc_{bound}" for bound in bounds]
        + [f"auc_minus_vanilla_{bound}" for bound in bounds]
        + [f"fidelity_{fraction:.12g}" for fraction in summary["fractions"]]
        + [f"deleted_{fraction:.12g}" for fraction in summary["fractions"]]
    )
    for curve in deletions(summary):
        writer.writerow(
            [curve["fill"], curve["map"]]
            + [curve["auc"][bound] for bound in bounds]
            + [(curve["auc_minus_vanilla"] or {}).get(bound, "") for bound in bounds]
            + curve["fidelity"]
            + curve["deleted"]
        )
    return text.getvalue()
