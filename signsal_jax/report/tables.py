"""The tables of an evaluation."""

from typing import Any

from signsal_jax.report.formats import Column, format_table


def deletions(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Every deletion curve: of the maps, of the controls, and those with imputed pixels."""
    return [
        curve for part in ("curves", "controls", "imputation") for curve in summary.get(part, [])
    ]


def auc_table(summary: dict[str, Any]) -> list[Column]:
    """The areas under deletion curves, one row per curve.

    For readers, "deleted" is the share really deleted at the last fraction; for programs, fidelity
    and that share at every fraction follow.

    Args:
      summary: of `summarize`, with curves.

    Returns:
      Columns for `format_table` and `write_table`.
    """
    curves = deletions(summary)
    fractions = [f"{fraction:.12g}" for fraction in summary["fractions"]]
    last = len(fractions) - 1
    to_random = [curve.get("auc_minus_random") for curve in curves]
    random = Column("auc_minus_random", to_random, "AUC - random", "+.4f")
    return [
        Column("fill", [curve["fill"] for curve in curves], "deletion"),
        Column("map", [curve["map"] for curve in curves], "map"),
        Column("auc", [curve["auc"] for curve in curves], "AUC", ".4f"),
        Column("auc_minus_vanilla", [_against(curve) for curve in curves], "AUC - vanilla", "+.4f"),
        *([random] if any(random.values) else []),
        *(
            Column(f"fidelity_{fraction}", [curve["fidelity"][place] for curve in curves])
            for place, fraction in enumerate(fractions)
        ),
        *(
            Column(
                f"deleted_{fraction}",
                [curve["deleted"][place] for curve in curves],
                "deleted" if place == last else None,
                ".3f",
            )
            for place, fraction in enumerate(fractions)
        ),
    ]


def _against(curve: dict[str, Any]) -> Any:
    return None if curve["map"] == "vanilla" else curve["auc_minus_vanilla"]


def markdown_table(summary: dict[str, Any]) -> str:
    """The table of areas in Markdown."""
    return format_table(auc_table(summary), "md")


def csv_table(summary: dict[str, Any]) -> str:
    """The table of areas as CSV."""
    return format_table(auc_table(summary), "csv")
