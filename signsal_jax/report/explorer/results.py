"""Results over all images of an evaluation, as the explorer's plots and tables."""

from typing import Any, NamedTuple


class Plot(NamedTuple):
    """Curves over the same shares of pixels.

    Attributes:
      title: of the plot.
      label: of its x axis.
      fractions: in [0, 1].
      series: of each curve its name and its values in [0, 1].
    """

    title: str
    label: str
    fractions: list[float]
    series: list[dict[str, Any]]


class Table(NamedTuple):
    """A table whose rows can be sorted by any column.

    Attributes:
      title: of the table.
      columns: of each its name and the digits of its numbers, None for text.
      rows: text, numbers, or None where there is no value.
    """

    title: str
    columns: list[dict[str, Any]]
    rows: list[list[Any]]


_CURVES = {"curves": "Deletion", "controls": "Deletion by controls", "insertion": "Insertion"}


def result_plots(summary: dict[str, Any]) -> list[Plot]:
    """Fidelity over deleted or inserted pixels, a plot for each fill; `summary` of `summarize`."""
    plots = []
    for key, name in _CURVES.items():
        curves = summary.get(key, [])
        for fill in dict.fromkeys(curve["fill"] for curve in curves):
            verb = "inserted" if key == "insertion" else "deleted"
            series = [
                {"name": curve["map"], "values": curve["fidelity"]}
                for curve in curves
                if curve["fill"] == fill
            ]
            plots.append(
                Plot(
                    f"{name}, {fill}: images whose predicted class stays",
                    f"pixels {verb}",
                    list(summary["fractions"]),
                    series,
                )
            )
    return plots


def result_tables(summary: dict[str, Any]) -> list[Table]:
    """Areas under the curves, and small steps, with 95 % intervals; `summary` of `summarize`."""
    tables = []
    for key, name in _CURVES.items():
        if key in summary:
            rows = [
                [
                    curve["fill"],
                    curve["map"],
                    *_bounds(curve["auc"]),
                    *_bounds(None if curve["map"] == "vanilla" else curve["auc_minus_vanilla"]),
                ]
                for curve in summary[key]
            ]
            columns = _columns(
                ("fill", "map", ("AUC", 4), ("from", 4), ("to", 4)),
                (("AUC − vanilla", 4), ("from ", 4), ("to ", 4)),
            )
            tables.append(Table(f"{name}: area under the curve", columns, rows))
    if "small_step" in summary:
        rows = [
            [
                row["map"],
                row["way"].replace("_", " "),
                255 * row["epsilon"],
                *_bounds(row["logit"]),
                row["margin"]["mean"],
                row["probability"]["mean"],
                100 * row["rose"],
            ]
            for row in summary["small_step"]
        ]
        columns = _columns(
            ("map", "way", ("step · 255", 2), ("Δ logit", 3), ("from", 3), ("to", 3)),
            (("Δ margin", 3), ("Δ probability", 3), ("logit rose, %", 1)),
        )
        tables.append(Table("Small steps: change of the target's scores", columns, rows))
    return tables


def _bounds(interval: dict[str, float] | None) -> list[float | None]:
    return [None] * 3 if interval is None else [interval[key] for key in ("mean", "low", "high")]


def _columns(*groups: tuple[str | tuple[str, int], ...]) -> list[dict[str, Any]]:
    named = [(column, None) if isinstance(column, str) else column for column in sum(groups, ())]
    return [{"name": name, "digits": digits} for name, digits in named]
