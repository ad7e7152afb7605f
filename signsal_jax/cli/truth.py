"""`signsal truth`: which maps find marks whose effect is known by construction."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from signsal_jax import _files
from signsal_jax.report import truth as report
from signsal_jax.truth import TASKS
from signsal_jax.truth.run import TruthConfig, run, score_own
from signsal_jax.truth.training import NETWORKS

_QUICK = TruthConfig(networks=("cnn", "cifar_resnet8"), seeds=1, twins=(), steps=1500, images=100)
_WHOLE = TruthConfig()
_Networks = tuple[Literal[NETWORKS], ...] | None  # pyright: ignore[reportInvalidTypeForm]


@dataclasses.dataclass(frozen=True)
class Truth:
    """Score saliency maps where the truth is known: trains small networks on rendered scenes.

    Writes truth.json, truth.md and truth.png. Killed, it goes on where it was.
    """

    out: Path = Path("truth")
    """The folder to write to."""
    quick: bool = False
    """One seed, two networks, all tasks, fewer images: minutes on two cores."""
    tasks: tuple[Literal[tuple(TASKS)], ...] = tuple(TASKS)  # pyright: ignore[reportInvalidTypeForm]
    """What the class depends on."""
    networks: _Networks = None
    """What is trained (default: all; with --quick cnn and cifar_resnet8)."""
    seeds: int | None = None
    """How many networks of each kind (default: 5; with --quick 1)."""
    twins: _Networks = None
    """Which of them also have an adversarially trained twin (default: cnn and vit; with --quick
    none)."""
    steps: int | None = None
    """Most training steps (default: 3000; with --quick 1500)."""
    images: int | None = None
    """Test images (default: 500; with --quick 100)."""
    maps: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npy")] = None
    """Only score maps of your own, [n, 32, 32] or [n, 32, 32, 3], of the first n test images of the
    one task in --tasks; trains nothing."""

    def run_command(self) -> int:
        if self.maps is not None:
            return self._score_own(self.maps)
        config = self._config()
        _files.check_writable(self.out)
        rows = run(config, self.out)
        command = f"signsal truth{self._flags()}"
        counting = [row for row in rows if row["counts"]]
        text = report.truth_markdown(rows, command)
        _files.write_json(self.out / "truth.json", {"command": command, "rows": rows})
        _files.write_text(self.out / "truth.md", text)
        if counting:
            report.truth_figure(counting, self.out / "truth.png")
        print(text)
        print(f"Report: {self.out}/ (truth.json truth.md{' truth.png' if counting else ''})")
        return 0

    def _config(self) -> TruthConfig:
        start = _QUICK if self.quick else _WHOLE
        for name in ("seeds", "steps", "images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected at least 1, got {value}")
        if not self.tasks or self.networks == ():
            raise ValueError("--tasks, --networks: expected at least one of each, got none")
        given = {
            name: getattr(self, name)
            for name in ("networks", "twins", "seeds", "steps", "images")
            if getattr(self, name) is not None
        }
        return dataclasses.replace(start, tasks=self.tasks, **given)

    def _flags(self) -> str:
        """The flags that decide what is computed, as typed."""
        flags = " --quick" if self.quick else ""
        if self.tasks != tuple(TASKS):
            flags += f" --tasks {' '.join(self.tasks)}"
        for name in ("networks", "twins"):
            if (value := getattr(self, name)) is not None:
                flags += " ".join([f" --{name}", *value])
        for name in ("seeds", "steps", "images"):
            if (value := getattr(self, name)) is not None:
                flags += f" --{name} {value}"
        return flags

    def _score_own(self, path: Path) -> int:
        if len(self.tasks) != 1:
            raise ValueError(f"--maps: expected one task in --tasks, got {len(self.tasks)}")
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"--maps {path}: expected a .npy file of numbers: {error}") from error
        for name, score in score_own(TASKS[self.tasks[0]], values).items():
            if score is not None:
                print(f"{name:13} {score['mean']:.4f} ({score['low']:.4f} to {score['high']:.4f})")
        return 0
