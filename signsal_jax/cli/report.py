"""`signsal report`: figures, tables and the explorer of a folder, without computing anything."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from signsal_jax import _files, report
from signsal_jax.cli.evaluate import STUDY, print_report
from signsal_jax.data.photos import printable
from signsal_jax.report.explorer import explain_explorer, is_explanation
from signsal_jax.study import open_study


@dataclasses.dataclass(frozen=True)
class Report:
    """The report of a study or evaluation, finished or not, or the explorer of explained pictures.

    Computes no gradients. The explorer is a page, explorer.html, that needs no network.
    """

    folder: Annotated[str, tyro.conf.Positional]
    """The folder of signsal explain, evaluate or study; gs:// and s3:// addresses need --out."""
    out: Path | None = None
    """The folder to write to (default: that of the pictures or evaluation, or FOLDER/report)."""
    seed: int = 0
    """Of the bootstrap over images."""

    def run_command(self) -> int:
        evaluation, in_bucket = Path(self.folder) / STUDY, "://" in self.folder
        if not in_bucket and is_explanation(Path(self.folder)):
            return self._explanations(Path(self.folder))
        if not in_bucket and evaluation.is_dir():
            store, out = open_study(str(evaluation)), self.out or Path(self.folder)
        else:
            if self.out is None and in_bucket:
                raise ValueError("--out: expected a local folder for the report, got none")
            store, out = open_study(self.folder), self.out or Path(self.folder) / "report"
        _files.check_writable(out)
        print_report(report.write_report(store, out, seed=self.seed), out)
        return 0

    def _explanations(self, folder: Path) -> int:
        _files.check_writable(self.out or folder)
        page, shown, explained = explain_explorer(folder, self.out)
        if shown < explained:
            print(f"The first {shown} of {explained} pictures")
        print(f"Explorer: {printable(page)}")
        return 0
