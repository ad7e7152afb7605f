"""The metrics file of a run: CSV, one line per report, continued exactly after a resume."""

import csv
import io
from pathlib import Path
from typing import Any

from signsal_jax import _files

FIELDS: tuple[str, ...] = (
    "step",
    "epoch",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "images_per_second",
)


def _writer(file: Any) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, FIELDS, lineterminator="\n")


class MetricsFile:
    """Appends lines; on opening, drops the lines past `step`, which will be written again."""

    def __init__(self, path: Path, step: int):
        self.path = path
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                # A kill can cut the last line short; that line is past the last checkpoint.
                complete = (row for row in csv.DictReader(file) if None not in row.values())
                rows = [row for row in complete if int(row["step"]) <= step]
        text = io.StringIO()
        writer = _writer(text)
        writer.writeheader()
        writer.writerows(rows)
        _files.write_text(path, text.getvalue())

    def write(self, **values: Any) -> None:
        """Appends one line; fields that are not given stay empty."""
        with self.path.open("a", newline="") as file:
            _writer(file).writerow(values)
