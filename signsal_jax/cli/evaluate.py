"""`signsal evaluate`: the deletion benchmark over a data set, to a report folder."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from signsal_jax import _files, data, report
from signsal_jax.cli._network import NetworkOptions, provenance
from signsal_jax.evaluation import Evaluation, evaluate, examples, summarize
from signsal_jax.evaluations.perturbation import PAPER_FRACTIONS, RULES
from signsal_jax.metrics import auc


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """The black and white deletion benchmark on a data set: figures, tables, results.json."""

    dataset: str
    """mnist5k, cifar10, imagenette, or any TFDS image classification set by its TFDS name."""
    network: tyro.conf.OmitArgPrefixes[NetworkOptions]
    split: str = "test"
    """The split to evaluate."""
    data_dir: Path | None = None
    """Where TFDS sets are prepared (default: TFDS's own folder)."""
    batch_size: int = 128
    """Images a step."""
    rule: Literal[RULES] = "paper"  # pyright: ignore[reportInvalidTypeForm]
    """How many pixels a fraction deletes."""
    fractions: tuple[float, ...] = PAPER_FRACTIONS
    """Shares of deleted pixels, increasing, each in [0, 1]."""
    precision: Literal["highest", "high", "default"] = "highest"
    """Of float32 products on devices that would round them; "default" is fastest there."""
    seed: int = 0
    """Of the bootstrap over images."""
    out: Path | None = None
    """The folder to write to (default: RUN/DATASET-SPLIT, or evaluation/MODEL-DATASET-SPLIT)."""

    def run_command(self) -> int:
        model = self.network.load()
        dataset = data.load(
            self.dataset, self.split, data_dir=self.data_dir, image_size=model.input_shape[:2]
        )
        label = f"{self.dataset}-{dataset.split}".replace("/", "-").replace(":", "-")
        run, name = self.network.run, self.network.model
        out = self.out or (run / label if run else Path("evaluation") / f"{name}-{label}")
        # Said before the work, not after it.
        _files.check_writable(out)
        auc(np.zeros(len(self.fractions)), self.fractions)
        evaluation = evaluate(
            model,
            dataset,
            batch_size=self.batch_size,
            fractions=self.fractions,
            rule=self.rule,
            precision=self.precision,
        )
        summary = summarize(evaluation, seed=self.seed)
        title = f"{dataset.name} {dataset.split}, {summary['images']} images"
        # An earlier one would not belong to what is written from here on.
        (out / "results.json").unlink(missing_ok=True)
        rows = examples(model, dataset, evaluation)
        if rows:
            report.maps_figure(rows, out / "maps.png", dataset.note)
        report.curves_figure(summary, out / "curves.png", title, dataset.note)
        _files.write_text(out / "table.md", report.markdown_table(summary))
        _files.write_text(out / "table.csv", report.csv_table(summary))
        _write_per_image(evaluation, out / "per_image.npz")
        described = {"name": dataset.name, "split": dataset.split, "note": dataset.note}
        # Last, so that a folder with results.json has everything.
        _files.write_json(
            out / "results.json",
            {**provenance(self, model), "dataset": described, "results": summary},
        )
        print(f"{title}, accuracy {summary['accuracy']:.4f}\n")
        print(report.markdown_table(summary))
        if dataset.note:
            print(f"Note on the data: {dataset.note}\n")
        print(f"Report: {out}/ (maps.png curves.png table.md table.csv results.json per_image.npz)")
        return 0


def _write_per_image(evaluation: Evaluation, path: Path) -> None:
    arrays: dict[str, Any] = {
        "labels": evaluation.labels,
        "predicted": evaluation.predicted,
        "agreement": evaluation.agreement,
        "deleted": evaluation.deleted,
        "curves": np.asarray(evaluation.curves),
        "fractions": np.asarray(evaluation.fractions),
    }
    _files.write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
