"""`signsal report`: figures, tables and the explorer of a folder, without computing anything."""

import dataclasses
from collections.abc import Sequence
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

    folders: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The folder of signsal explain, evaluate or study; gs:// and s3:// addresses need --out.
    Several of signsal explain hold the same pictures, each by another estimator; with --paper,
    several are evaluations."""
    out: Path | None = None
    """The folder to write to (default: that of the pictures or evaluation, or FOLDER/report)."""
    seed: int = 0
    """Of the bootstrap over images."""
    paper: bool = False
    """Writes the paper's Tables 1 to 3 with the recorded figures beside the paper's: paper.md, and
    each table as CSV and LaTeX."""

    def run_command(self) -> int:
        if self.paper:
            return self._paper()
        if self.folders and all(map(is_explanation, map(Path, self.folders))):
            return self._explanations([Path(folder) for folder in self.folders])
        if len(self.folders) != 1:
            raise ValueError(
                "FOLDERS: expected one, or several of signsal explain, got "
                f"{' '.join(self.folders) or 'none'}"
            )
        [folder] = self.folders
        evaluation, in_bucket = Path(folder) / STUDY, "://" in folder
        if not in_bucket and evaluation.is_dir():
            store, out = open_study(str(evaluation)), self.out or Path(folder)
        else:
            if self.out is None and in_bucket:
                raise ValueError("--out: expected a local folder for the report, got none")
            store, out = open_study(folder), self.out or Path(folder) / "report"
        _files.check_writable(out)
        print_report(report.write_report(store, out, seed=self.seed), out)
        return 0

    def _explanations(self, folders: Sequence[Path]) -> int:
        _files.check_writable(self.out or folders[0])
        page, shown, explained = explain_explorer(folders, self.out)
        if shown < explained:
            print(f"The first {shown} of {explained} pictures")
        print(f"Explorer: {printable(page)}")
        return 0

    def _paper(self) -> int:
        if not self.folders:
            raise ValueError("FOLDERS: expected at least one of signsal evaluate, got none")
        evaluated, left_out = report.read_evaluations(map(Path, self.folders))
        out = self.out or Path(self.folders[0])
        if not out.is_dir():
            out = out.parent if self.out is None else out
        _files.check_writable(out)
        files = report.write_paper(evaluated, out)
        print(files[0].read_text(encoding="utf-8"))
        for reason in left_out:
            print(f"Left out: {reason}")
        print(f"Tables: {out}/ ({' '.join(file.name for file in files)})")
        return 0
