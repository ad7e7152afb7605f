"""Trains and evaluates columns of the paper's results table, and prints them beside the paper's.

    python scripts/reproduce_paper.py --columns cifar10-cnn --data-dir DIR

Trains with the paper's hyperparameters (a finished run is not trained again), evaluates every
image of both splits, and keeps each results.json in scripts/results. About 50 minutes for the
CIFAR-10 CNN on 2 cores; --table-only prints the table of what is there in a second.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tyro

from signsal_jax import PAPER_CURVES, cli
from train.config import TrainConfig
from train.loop import train

RESULTS = Path(__file__).parent / "results"
SPLITS = ("test", "train")

# arXiv 2309.12913, test split: accuracy and AUC by (fill, map).
PAPER: dict[str, dict[Any, float]] = {
    name: dict(zip(("accuracy", *PAPER_CURVES), figures, strict=True))
    for name, figures in {
        "cifar10-cnn": (0.6307, 0.23, 0.14, 0.15, 0.21, 0.14, 0.15),
        "cifar10-resnet18": (0.7569, 0.23, 0.11, 0.11, 0.22, 0.12, 0.12),
        "imagenette-cnn": (0.6205, 0.24, 0.12, 0.16, 0.21, 0.11, 0.14),
        "imagenette-resnet18": (0.8357, 0.26, 0.14, 0.14, 0.23, 0.18, 0.16),
    }.items()
}


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Train and evaluate columns of the paper's results table."""

    columns: tuple[str, ...] = ("cifar10-cnn",)
    """Any of cifar10-cnn, cifar10-resnet18, imagenette-cnn, imagenette-resnet18."""
    data_dir: Path | None = None
    """Where the TFDS sets are prepared (default: TFDS's own folder)."""
    runs: Path = Path("runs")
    """Where the run folders are."""
    table_only: bool = False
    """Only print the table of the results that are kept."""

    def __post_init__(self) -> None:
        for column in self.columns:
            if column not in PAPER:
                raise ValueError(f"columns: expected any of {', '.join(PAPER)}; got {column!r}")


def run_column(command: Reproduce, column: str) -> None:
    """Trains and evaluates one column on both splits and keeps the results."""
    dataset, model = column.split("-")
    run = command.runs / column
    train(TrainConfig(out=run, dataset=dataset, model=model, data_dir=command.data_dir))
    folder = [] if command.data_dir is None else ["--data-dir", str(command.data_dir)]
    for split in SPLITS:
        out = run / f"{dataset}-{split}"
        arguments = ["--run", str(run), "--dataset", dataset, "--split", split, "--out", str(out)]
        if cli.main(["evaluate", *arguments, *folder]):
            sys.exit(1)
        shutil.copy(out / "results.json", RESULTS / f"{column}-{split}.json")
        for figure in ("maps", "curves"):
            shutil.copy(out / f"{figure}.png", RESULTS / f"{column}-{split}-{figure}.png")


def table(column: str) -> str:
    """One column of the paper beside ours, in Markdown, from the results that are kept."""
    kept = {
        split: json.loads((RESULTS / f"{column}-{split}.json").read_text())["results"]
        for split in SPLITS
    }
    counts = {split: f"{kept[split]['images']:,} {split} images" for split in SPLITS}
    lines = [
        f"| | paper, test | ours, {counts['test']} | ours, {counts['train']} |",
        "| --- | --- | --- | --- |",
    ]
    accuracies = [f"{kept[split]['accuracy']:.4f}" for split in SPLITS]
    lines.append(f"| accuracy | {PAPER[column]['accuracy']:.4f} | {' | '.join(accuracies)} |")
    for index, curve in enumerate(kept["test"]["curves"]):
        areas = [kept[split]["curves"][index]["auc"] for split in SPLITS]
        cells = [f"{a['mean']:.4f} ({a['low']:.4f} to {a['high']:.4f})" for a in areas]
        paper = PAPER[column][curve["fill"], curve["map"]]
        lines.append(f"| {curve['fill']} AUC, {curve['map']} | {paper:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the columns and prints their tables."""
    command = tyro.cli(Reproduce, description=__doc__)
    for column in command.columns:
        if not command.table_only:
            run_column(command, column)
        print(f"\n{column}\n\n{table(column)}")


if __name__ == "__main__":
    main()
