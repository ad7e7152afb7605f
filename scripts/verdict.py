"""Which map to trust: every map by every evaluation, as one table and one figure.

    signsal evaluate --model cnn-cifar10 --dataset cifar10 --images 2000 --rule completed --out A \
        --store logits deletion insertion controls small_step rival rival_groups patches \
        infidelity sensitivity sparsity randomization imputation
    python scripts/verdict.py --evaluations A --name verdict-cnn-cifar10

Reads what the evaluations stored of each image and computes nothing of a network. Each cell is a
paired difference, over the same images, from random (a control's, or chance) and from vanilla. All
intervals are corrected together for their number (Holm); effects are mean differences divided by
their standard deviation, positive where the map is better.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy import stats

from signsal_jax import _files, report
from signsal_jax.report.formats import markdown_rows
from signsal_jax.study import open_study

RESULTS = Path(__file__).parent / "results"
_LEVEL = 0.05
_REFERENCES = ("random", "vanilla")
KEY = ("evaluation", "map", "reference")
_HEADER = (
    "row",
    "evaluation",
    "images",
    "map",
    "mean",
    "reference",
    "difference",
    "corrected interval",
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Make the table and the figure of one network."""

    evaluations: tuple[Path, ...]
    """Folders of `signsal evaluate` with the same network and images; what one lacks, another may
    have."""
    name: str = "verdict"
    """Of the files written to scripts/results."""
    extend: bool = False
    """Keep the rows recorded under that name, add those that it lacks, and correct all together."""


def comparisons(scores: list[report.Score]) -> list[dict[str, Any]]:
    """Every paired difference, better being positive, before correction.

    The intervals are those of Student's t: at thousands of images means are normal enough, and
    corrected levels lie further out than a bootstrap can resolve.
    """
    found = []
    for score in scores:
        for name, values in score.values.items():
            chance = score.values.get("random", score.chance)
            for reference, other in zip(
                _REFERENCES, (chance, score.values.get("vanilla")), strict=True
            ):
                if other is None or name == reference or not score.better:
                    continue
                difference = score.better * (values - other)
                deviation = float(difference.std(ddof=1))
                row = {
                    "evaluation": score.name,
                    "better": score.better,
                    "map": name,
                    "reference": reference,
                    "images": len(values),
                    "mean": float(values.mean()),
                    "difference": float(difference.mean()),
                    "deviation": deviation,
                }
                # A map that equals its reference in every image differs in none.
                if deviation:
                    t = row["difference"] / deviation * math.sqrt(len(values))
                    row["p"] = float(2 * stats.t.sf(abs(t), len(values) - 1))
                else:
                    row["p"] = float(row["difference"] == 0)
                found.append(row)
    return found


def corrected(rows: list[dict[str, Any]], level: float = _LEVEL) -> list[dict[str, Any]]:
    """Adds, by Holm's step-down rule over all rows, adjusted p-values, intervals and effects.

    The row with the i-th smallest of m p-values gets an interval of confidence
    1 - level / (m - i + 1). `decided` says whether its adjusted p-value is below the level.

    Reference: Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    order = np.argsort([row["p"] for row in rows], kind="stable")
    adjusted, found = 0.0, list(rows)
    for place, index in enumerate(order):
        row, left = rows[index], len(rows) - place
        adjusted = max(adjusted, min(1.0, left * row["p"]))
        half = stats.t.ppf(1 - level / left / 2, row["images"] - 1)
        half *= row["deviation"] / math.sqrt(row["images"])
        unit = row["deviation"] or 1.0
        low, high = row["difference"] - half, row["difference"] + half
        found[index] = row | {
            "low": float(low),
            "high": float(high),
            "p_holm": adjusted,
            "decided": adjusted < level,
            "effect": row["difference"] / unit,
            "effect_low": float(low / unit),
            "effect_high": float(high / unit),
        }
    return found


def added(recorded: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The recorded rows in their places, then the others that they lack."""
    known = {tuple(row[key] for key in KEY) for row in recorded}
    return recorded + [row for row in rows if tuple(row[key] for key in KEY) not in known]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, numbered so that a sentence can name one."""
    lines = []
    for number, row in enumerate(rows, 1):
        lines.append(
            (
                str(number),
                f"{row['evaluation']} ({'higher' if row['better'] > 0 else 'lower'} is better)",
                f"{row['images']:,}",
                row["map"],
                f"{row['mean']:.4f}",
                row["reference"],
                f"{row['difference']:+.4f}{'' if row['decided'] else ' (undecided)'}",
                f"{row['low']:+.4f} to {row['high']:+.4f}",
            )
        )
    return markdown_rows(_HEADER, lines)


def draw(rows: list[dict[str, Any]], path: Path, title: str) -> Path:
    """A matrix for each reference: maps by evaluations, each cell an effect with its interval."""
    evaluations = list(dict.fromkeys(row["evaluation"] for row in rows))
    maps = list(dict.fromkeys(row["map"] for row in rows))
    figure = Figure(figsize=(2.6 + 0.92 * len(evaluations), 2 * (1.2 + 0.36 * len(maps))))
    for place, reference in enumerate(_REFERENCES):
        axis = figure.add_subplot(2, 1, place + 1)
        effects = np.full((len(maps), len(evaluations)), np.nan)
        for row in rows:
            if row["reference"] != reference:
                continue
            at = maps.index(row["map"]), evaluations.index(row["evaluation"])
            effects[at] = row["effect"]
            text = f"{row['effect']:+.2f}\n{row['effect_low']:+.2f} {row['effect_high']:+.2f}"
            color = "black" if row["decided"] else "#999999"
            color = "white" if abs(row["effect"]) > 1.6 else color
            axis.text(at[1], at[0], text, ha="center", va="center", fontsize=5.5, color=color)
        axis.imshow(effects, cmap="RdBu", vmin=-2, vmax=2, aspect="auto")
        axis.set_yticks(range(len(maps)), [name.replace("_", " ") for name in maps], fontsize=7)
        axis.set_xticks([])
        if place:
            labels = [name.replace(", ", "\n") for name in evaluations]
            axis.set_xticks(range(len(evaluations)), labels, fontsize=6, rotation=90)
        axis.set_title(f"against {reference}", fontsize=9)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return _files.write_atomically(path, lambda file: figure.savefig(file, dpi=140))


def main(args: Verdict) -> None:
    """Reads the studies and writes the table, the figure and the numbers."""
    stores = [open_study(folder / "study") for folder in args.evaluations]
    scores = [score for store in stores for score in report.image_scores(store)]
    manifest, rows = stores[0].manifest, comparisons(scores)
    configurations = [store.manifest["config"] for store in stores]
    if args.extend:
        record = json.loads((RESULTS / f"{args.name}.json").read_text(encoding="utf-8"))
        rows = added(record["rows"], rows)
        configurations = record["configurations"] + configurations
    rows = corrected(rows)
    note = manifest["data"]["note"].partition(". ")[0]
    # Less than all where maps are empty, or a study is not finished.
    counts = sorted({row["images"] for row in rows})
    images = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    undecided = sum(not row["decided"] for row in rows)
    title = (
        f"{manifest['config']['model']}, {manifest['data']['name']}, first {images} images\nEffects"
        f" (mean / standard deviation of the paired difference, better is positive), Holm-corrected"
        f"\nover {len(rows)} comparisons; gray: undecided\n{note}"
    )
    draw(rows, RESULTS / f"{args.name}.png", title)
    head = (
        f"Every map by every evaluation: {manifest['config']['model']}, "
        f"{manifest['data']['name']}, the first {images} images. {note}. Differences are paired and"
        f" positive where the map is better; {len(rows)} comparisons corrected together (Holm), of"
        f" which {undecided} are undecided.\n\n"
    )
    _files.write_text(RESULTS / f"{args.name}.md", head + table(rows))
    record = {
        "configurations": configurations,
        "note": manifest["data"]["note"],
        "versions": manifest["versions"],
        "rows": rows,
    }
    _files.write_json(RESULTS / f"{args.name}.json", record)
    print(head + table(rows))


if __name__ == "__main__":
    main(tyro.cli(Verdict, description=__doc__))
