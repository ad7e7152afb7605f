"""`signsal evaluate`: the deletion benchmark over a data set, a study followed by its report."""

import dataclasses
from pathlib import Path

import numpy as np

from signsal_jax import _files, report
from signsal_jax.cli._engine import Execution, ExecutionOptions, StudyOptions, load, run
from signsal_jax.metrics import auc
from signsal_jax.report.explorer import EXPLORER
from signsal_jax.study import EVALUATION, StudyConfig

STUDY = "study"
"""The folder of the study inside that of its report."""
_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """The black and white deletion benchmark on a data set: figures, tables, results.json.

    Killed, it goes on where it was.
    """

    out: Path | None = None
    """The folder to write to (default: RUN/DATASET-SPLIT, or evaluation/MODEL-DATASET-SPLIT)."""
    seed: int = 0
    """Of the bootstrap over images."""
    study: StudyOptions = dataclasses.field(
        default_factory=lambda: StudyConfig(store=EVALUATION, chunk=128)
    )
    """What is computed. Fields may also stand in the TOML file of --config; a flag wins over it."""
    execution: ExecutionOptions = dataclasses.field(default_factory=Execution)
    """Where and how; the numbers are the same."""

    def run_command(self) -> int:
        # Said before the work, not after it.
        auc(np.zeros(len(self.study.fractions)), self.study.fractions)
        model, splits = load(self.study, self.execution)
        out = self.out or self._default_out("+".join(split.split for split in splits))
        _files.check_writable(out)
        store = run(self.study, self.execution, model, splits, str(out / STUDY))
        if store is None:
            return 0
        examples = report.compute_examples(store, model, splits)
        if examples:
            report.save_examples(store, examples, out)
        print_report(report.write_report(store, out, seed=self.seed), out)
        return 0

    def _default_out(self, split: str) -> Path:
        label = f"{self.study.dataset}-{split}".replace("/", "-").replace(":", "-")
        if self.study.run:
            return Path(self.study.run) / label
        return Path("evaluation") / f"{self.study.model}-{label}"


def print_report(written: report.Report, out: Path) -> None:
    """The report's title, its table, what was left out, and where its files are."""
    summary, note = written.results["results"], written.results["dataset"]["note"]
    accuracy = summary["accuracy"]
    known = "no labels" if accuracy is None else f"accuracy {accuracy:.4f}"
    print(f"{written.title}, {known}\n")
    if written.table:
        print(written.table)
    if count := summary["invalid"]["count"]:
        numbers = ", ".join(map(str, summary["invalid"]["numbers"][:_NAMED]))
        more = ", ..." if count > _NAMED else ""
        print(f"Left out, since unreadable or not finite: {count} images ({numbers}{more})")
        print("".join(f"  {line}\n" for line in summary["invalid"]["unreadable"][:_NAMED]))
    if note:
        print(f"Note on the data: {note}\n")
    print(f"Report: {out}/ ({' '.join(written.files)})")
    print(f"Explorer: {out / EXPLORER}")
