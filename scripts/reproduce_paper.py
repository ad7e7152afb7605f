"""Trains and evaluates columns of the paper's results table, and prints them beside the paper's.

    python scripts/reproduce_paper.py --columns cifar10-cnn --data-dir DIR

Trains with the paper's hyperparameters (a finished run is not trained again) or takes published
weights, evaluates every image of the column's splits, and keeps each results.json in
scripts/results. Takes about 50 minutes for the CIFAR-10 CNN on 2 cores; --table-only only prints
the table of the recorded results, in a second.
"""

import dataclasses
import json
import shutil
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from scripts.reproduced_verdict import areas, to_random, verdict
from signsal_jax import _files, cli
from signsal_jax.report.published import EPOCHS as PAPER_EPOCHS, PUBLISHED, SEED as PAPER_SEED
from train.config import TrainConfig
from train.loop import train

RESULTS = Path(__file__).parent / "results"
# Stands for the file given by --weights: these weights are not part of any package.
FROM_FILE = "--weights"


class Column(NamedTuple):
    """One column of the table.

    Attributes:
      dataset: the data set's name.
      model: the network's name.
      splits: the splits to evaluate.
      training: settings of the training run other than the paper's; None for a network that is
        taken as published.
      evaluation: further arguments of `signsal evaluate`.
    """

    dataset: str
    model: str
    splits: tuple[str, ...] = ("test",)
    training: Mapping[str, Any] | None = types.MappingProxyType({})
    evaluation: tuple[str, ...] = ()


_FROZEN = types.MappingProxyType({"weights": FROM_FILE, "freeze": True})
_SMALL_CHUNKS = ("--chunk", "32")
COLUMNS = {
    "cifar10-cnn": Column("cifar10", "cnn", ("test", "train")),
    "cifar10-resnet18": Column("cifar10", "resnet18", ("test", "train")),
    "cifar10-cifar_resnet20": Column("cifar10", "cifar_resnet20", training=None),
    "imagenette-cnn": Column("imagenette", "cnn"),
    "imagenette-resnet18": Column("imagenette", "resnet18"),
    "imagenette-resnet18-pretrained": Column(
        "imagenette", "resnet18", training=_FROZEN, evaluation=_SMALL_CHUNKS
    ),
    "imagenette-convnext_tiny": Column(
        "imagenette", "convnext_tiny", training=_FROZEN, evaluation=_SMALL_CHUNKS
    ),
    "imagenette-efficientnet_lite0": Column(
        "imagenette",
        "efficientnet_lite0",
        training={"weights": "package", "freeze": True},
        evaluation=_SMALL_CHUNKS,
    ),
}


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Train and evaluate columns of the paper's results table."""

    columns: tuple[str, ...] = ("cifar10-cnn",)
    """Any of cifar10-cnn, cifar10-resnet18, cifar10-cifar_resnet20, imagenette-cnn,
    imagenette-resnet18, imagenette-resnet18-pretrained, imagenette-convnext_tiny,
    imagenette-efficientnet_lite0."""
    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    runs: Path = Path("runs")
    """Folder that holds the run folders."""
    weights: Path | None = None
    """The weights file of a column that does not start from scratch: cifar10-cifar_resnet20,
    or ImageNet weights for imagenette-resnet18-pretrained and imagenette-convnext_tiny."""
    seeds: tuple[int, ...] = (PAPER_SEED,)
    """Training seeds; one run and one results file for each. The paper's is 42; for others, only
    the test split is evaluated."""
    epochs: int = PAPER_EPOCHS
    """Training epochs; if not the paper's 50, the table says so."""
    table_only: bool = False
    """Only print the table of the recorded results."""

    def __post_init__(self) -> None:
        for column in self.columns:
            if column not in COLUMNS:
                raise ValueError(f"columns: expected any of {', '.join(COLUMNS)}; got {column!r}")


def run_name(name: str, seed: int) -> str:
    """The name of a column's run and results; it omits the paper's seed."""
    return name if seed == PAPER_SEED else f"{name}-seed{seed}"


def run_column(command: Reproduce, name: str, seed: int) -> None:
    """Trains and evaluates one column with one seed and keeps the results."""
    column, kept = COLUMNS[name], run_name(name, seed)
    run = command.runs / kept
    training = dict(column.training or {})
    if column.training is None or training.get("weights") == FROM_FILE:
        if command.weights is None:
            raise ValueError(f"--weights: expected a file for {name}, got none")
        training["weights"] = str(command.weights)
    if column.training is None:
        network = ["--model", column.model, "--weights", str(command.weights)]
    else:
        train(
            TrainConfig(
                out=run,
                dataset=column.dataset,
                model=column.model,
                data_dir=command.data_dir,
                epochs=command.epochs,
                seed=seed,
                **training,
            )
        )
        network = ["--run", str(run)]
    folder = [] if command.data_dir is None else ["--data-dir", str(command.data_dir)]
    for split in column.splits if seed == PAPER_SEED else ("test",):
        out = run / f"{column.dataset}-{split}"
        arguments = ["--dataset", column.dataset, "--split", split, "--out", str(out)]
        if cli.main(["evaluate", *network, *arguments, *column.evaluation, *folder]):
            sys.exit(1)
        _keep(out / "results.json", RESULTS / f"{kept}-{split}.json")
        for figure in ("maps", "curves"):
            shutil.copy(out / f"{figure}.png", RESULTS / f"{kept}-{split}-{figure}.png")


def _keep(results: Path, kept: Path) -> None:
    """Copies the results without the folders of the machine that made them."""
    content = json.loads(results.read_text())
    for settings in (content["configuration"], content["network"]):
        for key in ("data_dir", "out"):
            settings.pop(key, None)
    configuration = content["configuration"]
    for key in ("run", "weights"):
        if configuration.get(key):
            configuration[key] = Path(configuration[key]).name
    _files.write_json(kept, content)


def table(name: str) -> str:
    """One column of the paper beside ours, in Markdown, from the recorded results."""
    column = COLUMNS[name]
    files = {
        split: json.loads((RESULTS / f"{name}-{split}.json").read_text()) for split in column.splits
    }
    kept = {split: content["results"] for split, content in files.items()}
    heads = [
        f"ours, {kept[split]['images']:,} {files[split]['dataset']['split']} images"
        for split in column.splits
    ]
    rows = [["accuracy", *(f"{kept[split]['accuracy']:.4f}" for split in column.splits)]]
    keys: list[Any] = ["accuracy"]
    by_split = [areas(kept[split]) for split in column.splits]
    for key in dict.fromkeys(key for split in by_split for key in split):
        rows.append([f"{key[0]} AUC, {key[1]}", *(split.get(key, "") for split in by_split)])
        keys.append(key)
    if name in PUBLISHED:
        heads.insert(0, "paper, test")
        for row, key in zip(rows, keys, strict=True):
            known = PUBLISHED[name].figures.get(key)
            digits = 4 if key == "accuracy" else 2
            row.insert(1, "" if known is None else f"{known:.{digits}f}")
    lines = [["", *heads], ["---"] * (len(heads) + 1), *rows]
    text = "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |", 1) for line in lines)
    epochs = files[column.splits[0]]["network"].get("epochs", PAPER_EPOCHS)
    short = "" if epochs == PAPER_EPOCHS else f"Trained for {epochs} epochs instead of 50. "
    said = " ".join(part for part in (verdict(kept), to_random(kept)) if part)
    return f"{text}\n\n{short}{said}\n"


def main() -> None:
    """Runs the columns and prints their tables."""
    command = tyro.cli(Reproduce, description=__doc__)
    for column in command.columns:
        for seed in () if command.table_only else command.seeds:
            run_column(command, column, seed)
        print(f"\n{column}\n\n{table(column)}")


if __name__ == "__main__":
    main()
