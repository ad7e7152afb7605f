"""`signsal report`: the figures and tables of a study's folder, without computing anything."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from signsal_jax import _files, report
from signsal_jax.cli.evaluate import STUDY, print_report
from signsal_jax.study import open_study


@dataclasses.dataclass(frozen=True)
class Report:
    """Draw the report of a study or evaluation again, finished or not; computes no gradients."""

    folder: Annotated[str, tyro.conf.Positional]
    """The folder of signsal evaluate or signsal study; gs:// and s3:// addresses need --out."""
    out: Path | None = None
    """The folder to write to (default: that of the evaluation, or FOLDER/report)."""
    seed: int = 0
    """Of the bootstrap over images."""

    def run_command(self) -> int:
        evaluation, in_bucket = Path(self.folder) / STUDY, "://" in self.folder
        if not in_bucket and evaluation.is_dir():
            store, out = open_study(str(evaluation)), self.out or Path(self.folder)
        else:
            if self.out is None and in_bucket:
                raise ValueError("--out: expected a local folder for the report, got none")
            store, out = open_study(self.folder), self.out or Path(self.folder) / "report"
        _files.check_writable(out)
        print_report(report.write_report(store, out, seed=self.seed), out)
        return 0
