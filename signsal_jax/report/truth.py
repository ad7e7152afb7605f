"""Tables and the figure of the benchmark with known truth."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from signsal_jax.report.figures import save_figure
from signsal_jax.report.formats import markdown_rows

_SCORES = ("mass", "rank", "precision", "chance", "sign_pixels", "sign_covered", "sign_marks")
_HEADS = (
    *("map", "mass", "rank", "average precision", "chance"),
    *("sign, pixels", "pixels with a sign", "sign, marks", "rival"),
)
_PANELS = {
    "precision": "average precision (true pixels by chance: in brackets)",
    "sign_marks": "sign of marks",
}


def _means(rows: Sequence[dict[str, Any]], name: str, score: str) -> list[float]:
    """The means of a score over the rows where something could be asked."""
    found = [row["maps"][name].get(score) for row in rows]
    return [value["mean"] for value in found if value is not None]


def _shown(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if len(values) else ""


def network_label(row: dict[str, Any]) -> str:
    """The network of a row, and whether it is the adversarially trained twin."""
    return row["network"] + (", adversarial" if row["adversarial"] else "")


def network_table(rows: Sequence[dict[str, Any]]) -> str:
    """Which networks use the design, in Markdown, one row each."""
    lines = []
    for row in rows:
        known = [row["agreement"], row["leak"]]
        lines.append(
            [
                row["task"],
                network_label(row),
                str(row["seed"]),
                str(row.get("trained", row["steps"])),
                f"{row['accuracy']:.3f}",
                *("" if value is None else f"{value:.3f}" for value in known),
                "yes" if row["counts"] else "no",
            ]
        )
    heads = ("task", "network", "seed", "steps", "accuracy", "agreement", "leak", "counts")
    return markdown_rows(heads, lines)


def map_table(rows: Sequence[dict[str, Any]]) -> str:
    """The scores of each map in Markdown: means over the rows given, which are to count."""
    lines = []
    for name in rows[0]["maps"] if rows else ():
        lines.append([name, *(_shown(_means(rows, name, s)) for s in (*_SCORES, "rival"))])
    return markdown_rows(_HEADS, lines)


def task_table(rows: Sequence[dict[str, Any]], score: str) -> str:
    """One score by map and task in Markdown, means over the rows given."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    of_task: Callable[[str], list[Any]] = lambda task: [r for r in rows if r["task"] == task]  # noqa: E731
    lines = [
        [name, *(_shown(_means(of_task(task), name, score)) for task in tasks)]
        for name in (rows[0]["maps"] if rows else ())
    ]
    return markdown_rows(["map", *tasks], lines)


def by_network_table(rows: Sequence[dict[str, Any]], score: str) -> str:
    """One score by map and network in Markdown, with the lowest and highest of its rows."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(network_label(row), []).append(row)
    lines = []
    for name in rows[0]["maps"] if rows else ():
        found = [_means(group, name, score) for group in groups.values()]
        cells = [f"{_shown(v)} ({min(v):.2f} to {max(v):.2f})" if v else "" for v in found]
        lines.append([name, *cells])
    heads = [f"{label} ({len(group)})" for label, group in groups.items()]
    return markdown_rows(["map", *heads], lines)


def twins(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of a network and its adversarially trained twin, of the same task and seed."""
    identity: Callable[[Any], Any] = lambda row: tuple(row[k] for k in ("task", "network", "seed"))  # noqa: E731
    plain = {identity(row): row for row in rows if not row["adversarial"]}
    pairs = [(plain.get(identity(row)), row) for row in rows if row["adversarial"]]
    return [(first, twin) for first, twin in pairs if first is not None]


def twin_table(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """What adversarial training does to the maps, in Markdown: means over pairs that both count."""
    lines = []
    for name in pairs[0][0]["maps"] if pairs else ():
        cells = []
        for score in ("precision", "sign_pixels"):
            for group in zip(*pairs, strict=True):
                cells.append(_shown(_means(group, name, score)))
        lines.append([name, *cells])
    heads = [
        f"{score}, {kind}"
        for score in ("average precision", "sign, pixels")
        for kind in ("plain", "twin")
    ]
    return markdown_rows(["map", *heads], lines)


def truth_markdown(rows: Sequence[dict[str, Any]], command: str) -> str:
    """The whole report in Markdown; says first what does not count."""
    counting = [row for row in rows if row["counts"]]
    # Of the rows, since a run may have been continued.
    took, cores = (
        sum(row["seconds"][name] for row in rows) / 60 for name in ("all", "all, of all cores")
    )
    parts = [
        f"Made by `{command}`: {took:.1f} minutes, {cores:.1f} of all cores together.\n",
        f"{len(counting)} of {len(rows)} networks count: they classify at least 99 % of the test "
        "images right and agree with the design on at least 99 % of marks and rivals.\n",
        network_table(rows),
    ]
    if counting:
        parts += [
            "Means over the networks that count:\n",
            map_table(counting),
            "Average precision by task:\n",
            task_table(counting, "precision"),
            "Share of marks with the right sign, by task:\n",
            task_table(counting, "sign_marks"),
            "Average precision by network, with the lowest and highest (how many count):\n",
            by_network_table(counting, "precision"),
            "Share of true pixels with the right sign, by network:\n",
            by_network_table(counting, "sign_pixels"),
        ]
    if pairs := twins(counting):
        parts += [
            f"Adversarially trained twins, means over the {len(pairs)} pairs that both count:\n",
            twin_table(pairs),
        ]
    return "\n".join(parts)


def truth_figure(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draws average precision and sign accuracy as matrices of map x task, means over the rows."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    names = list(rows[0]["maps"])
    figure = Figure(figsize=(13, 0.36 * len(names) + 1.6))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (score, title) in zip(axes, _PANELS.items(), strict=True):
        values = np.full((len(names), len(tasks)), np.nan)
        for column, task in enumerate(tasks):
            of_task = [row for row in rows if row["task"] == task]
            for line, name in enumerate(names):
                means = _means(of_task, name, score)
                if not means:
                    continue
                values[line, column] = np.mean(means)
                text = f"{values[line, column]:.2f}"
                if score == "precision":
                    text += f" ({np.mean(_means(of_task, name, 'chance')):.2f})"
                color = "white" if values[line, column] < 0.5 else "black"
                style: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": color}
                axis.text(column, line, text, **style)
        axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axis.set_xticks(range(len(tasks)), tasks, fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_title(title, fontsize=10)
    figure.tight_layout()
    return save_figure(figure, path)
