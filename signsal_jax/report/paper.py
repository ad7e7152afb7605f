"""The paper's tables with the figures of recorded evaluations beside the paper's."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from signsal_jax import _checks, _files
from signsal_jax.evaluations import PAPER_CURVES
from signsal_jax.report.evaluated import Evaluated
from signsal_jax.report.formats import Column, format_table, write_table
from signsal_jax.report.published import EPOCHS, PUBLISHED, SEED, Figure, training

TABLES = {
    "accuracy": "Accuracy",
    "black": "AUC of fidelity under black deletion (lower is better)",
    "white": "AUC of fidelity under white deletion (lower is better)",
}
"""The paper's three tables, by name."""


def paper_table(evaluated: Sequence[Evaluated], table: str) -> list[Column]:
    """One of the paper's tables with ours, the paper's figure and the difference side by side.

    Args:
      evaluated: from `read_evaluations`. Networks without results have empty cells.
      table: a key of `TABLES`.

    Returns:
      Columns for `format_table` and `write_table`. Programs also get the conditions behind our
      figures: images, training images, epochs, seed and data set.

    Raises:
      ValueError: another table.

    Reference: arXiv 2309.12913, Tables 1 to 3.
    """
    _checks.check_member("table", table, tuple(TABLES))
    accuracy = table == "accuracy"
    keys: list[Figure] = ["accuracy"] if accuracy else [k for k in PAPER_CURVES if k[0] == table]
    rows = []
    for name, published in PUBLISHED.items():
        own = [one for one in evaluated if one.name == name] or [None]
        for one, key in itertools.product(own, keys):
            rows.append((published.title if one is None else one.title, key, one, published))
    paper = [published.figures[key] for _, key, _, published in rows]
    ours = [None if one is None else one.figure(key) for _, key, one, _ in rows]
    differences = [None if o is None else o["mean"] - p for o, p in zip(ours, paper, strict=True)]
    maps = [] if accuracy else [Column("map", [key[1] for _, key, _, _ in rows], "map")]
    columns = [
        Column("network", [title for title, _, _, _ in rows], "network"),
        *maps,
        Column("paper", paper, "paper", ".4f" if accuracy else ".2f"),
        Column("ours", ours, "ours", ".4f"),
        Column("ours_minus_paper", differences, "ours - paper", "+.4f" if accuracy else "+.3f"),
    ]
    for key, title, value in (
        ("images", "test images", lambda content: content["results"]["images"]),
        ("train_images", "training images", lambda content: training(content).get("train_images")),
        ("epochs", f"epochs (paper: {EPOCHS})", lambda content: training(content).get("epochs")),
        ("seed", None, lambda content: training(content).get("seed")),
        ("data", "data", lambda content: content["dataset"]["name"]),
    ):
        values = [None if one is None else value(one.content) for _, _, one, _ in rows]
        columns.append(Column(key, values, title if accuracy else None, "," if title else ""))
    return columns


def paper_notes(evaluated: Sequence[Evaluated]) -> list[str]:
    """What a reader of the tables must know: missing networks, the data, orders, other seeds."""
    known = {one.name for one in evaluated}
    missing = [one.title for name, one in PUBLISHED.items() if name not in known]
    notes = [f"Not evaluated: {'; '.join(missing)}."] if missing else []
    described: dict[str, list[str]] = {}
    for one in evaluated:
        if note := one.content["dataset"]["note"]:
            described.setdefault(note, []).append(one.title)
    notes += [f"Data of {'; '.join(titles)}: {note}" for note, titles in described.items()]
    notes += [line for one in evaluated for line in _orders(one)]
    return notes + [line for name in PUBLISHED if (line := _seeds(evaluated, name))]


def _orders(one: Evaluated) -> list[str]:
    """The pairs of maps that the paper has in the opposite order."""
    paper, lines = PUBLISHED[one.name].figures, []
    for pair in itertools.combinations(PAPER_CURVES, 2):
        if pair[0][0] != pair[1][0]:
            continue
        low, high = sorted(pair, key=lambda key: paper[key])
        ours = one.figure(low)["mean"], one.figure(high)["mean"]
        if paper[low] < paper[high] and ours[0] > ours[1]:
            lines.append(
                f"{one.title}, {low[0]}: the paper has {low[1]} below {high[1]} "
                f"({paper[low]:.2f}, {paper[high]:.2f}), here it is above "
                f"({ours[0]:.4f}, {ours[1]:.4f})."
            )
    return lines


def _seeds(evaluated: Sequence[Evaluated], name: str) -> str | None:
    """Compares the paper's difference of positive and active with that between trainings."""
    own = [one for one in evaluated if one.name == name]
    if len(own) < 2:
        return None
    keys = ("black", "positive"), ("black", "active")
    areas = {key: [one.figure(key)["mean"] for one in own] for key in keys}
    spread = max(max(values) - min(values) for values in areas.values())
    paper = PUBLISHED[name].figures
    difference = abs(paper[keys[1]] - paper[keys[0]])
    ranges = ", ".join(f"{k[1]} {min(v):.4f} to {max(v):.4f}" for k, v in areas.items())
    seeds = ", ".join(str(training(one.content).get("seed", SEED)) for one in own)
    return (
        f"{PUBLISHED[name].title}, seeds {seeds}: black AUC, {ranges}. The paper's difference "
        f"between positive and active, {difference:.2f}, is "
        f"{'larger' if difference > spread else 'not larger'} than the largest between two "
        f"trainings, {spread:.4f}."
    )


def write_paper(evaluated: Sequence[Evaluated], out: Path) -> list[Path]:
    """Writes the tables: paper.md with all three and the notes, and each as CSV and LaTeX.

    Args:
      evaluated: from `read_evaluations`.
      out: the folder.

    Returns:
      The files.
    """
    tables = {name: paper_table(evaluated, name) for name in TABLES}
    parts = [f"## {TABLES[name]}\n\n{format_table(tables[name], 'md')}" for name in TABLES]
    notes = "".join(f"- {note}\n" for note in paper_notes(evaluated))
    head = (
        "# The paper's tables beside ours\n\nThe paper is arXiv 2309.12913. Intervals are over "
        "images: Wilson's for accuracy, the bootstrap's for areas.\n"
    )
    files = [_files.write_text(out / "paper.md", "\n".join([head, *parts, notes]))]
    for name, columns in tables.items():
        files += [write_table(columns, out / f"paper_{name}.{kind}") for kind in ("csv", "tex")]
    return files
