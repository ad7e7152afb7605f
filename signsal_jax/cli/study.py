"""`signsal study`: a whole data set's Jacobians, sharded over devices and processes, resumable."""

import dataclasses
from pathlib import Path

from signsal_jax.cli._engine import Execution, ExecutionOptions, StudyOptions, load, run
from signsal_jax.study import Store, StudyConfig, image_columns, open_study, status_lines


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of a whole data set, to zarr arrays; killed, it goes on where it was.

    Exit status: 0 the study is finished; 1 a mistake, or with --verify damage, which the message
    names; 2 unknown options; 75 unfinished (stopped by SIGTERM): the same command goes on where it
    was. Any number of processes, on any machines that see the folder, may run the same command.
    """

    out: str | None = None
    """The study's folder, local, gs://bucket/path or s3://bucket/path."""
    status: str | None = None
    """Only say how far the study in this folder is."""
    verify: bool = False
    """With --status: read everything that is committed, check all checksums, and name damage."""
    export: Path | None = None
    """With --status: write every scalar of the images so far to this file, .parquet or .csv."""
    study: StudyOptions = dataclasses.field(default_factory=StudyConfig)
    """What is computed. Fields may also stand in the TOML file of --config; a flag wins over it."""
    execution: ExecutionOptions = dataclasses.field(default_factory=Execution)
    """Where and how; the numbers are the same."""

    def run_command(self) -> int:
        if self.status is not None:
            store = open_study(self.status)
            print("\n".join(status_lines(store)))
            if self.export is not None:
                _export(store, self.export)
            damage = store.verify() if self.verify else []
            if self.verify:
                print("\n".join(damage or ["All checksums of what is committed are right."]))
            return 1 if damage else 0
        if self.export is not None:
            raise ValueError("--export: expected with --status DIR, got it alone")
        if self.out is None:
            raise ValueError("expected --out DIR (or --status DIR), got neither")
        store = run(self.study, self.execution, *load(self.study, self.execution), self.out)
        if store is None:
            return 0
        counts = store.merge()
        accuracy = counts["accuracy"]
        known = "no labels" if accuracy is None else f"accuracy {accuracy:.4f}"
        print(f"{counts['images']} images, {known}: {store.folder}/")
        if "width" in (through := store.manifest["through"]):
            print(f"Class gradients: through the {through['width']} features, see --through.")
        unreadable = store.unreadable()
        if unreadable:
            print(f"{len(unreadable)} of them could not be read and are left out:")
            print("\n".join(f"  {problem}" for problem in unreadable.values()))
        if invalid := counts["images"] - counts["valid"] - len(unreadable):
            print(f"Of {invalid} the logits or gradients are not finite: see the array valid.")
        return 0


def _export(store: Store, path: Path) -> None:
    from signsal_jax.report import Column, write_table  # they bring matplotlib

    columns = image_columns(store)
    write_table([Column(name, values.tolist()) for name, values in columns.items()], path)
    print(f"{len(columns['image'])} images: {path}")
