"""`signsal study`: a whole data set's Jacobians, sharded over devices and processes, resumable."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Literal

from signsal_jax import data, sharding
from signsal_jax.cli._network import NetworkOptions
from signsal_jax.maps import METHODS
from signsal_jax.study import (
    STORABLE,
    STORAGES,
    StudyConfig,
    join,
    open_study,
    run_study,
    status_lines,
)


@dataclasses.dataclass(frozen=True)
class Study:
    """A study of a whole data set, to zarr arrays; killed, it goes on where it was.

    Every field below up to --class-chunk may also stand in the TOML file of --config; a flag
    wins over the file.

    Exit status: 0 the study is finished; 1 a mistake, or with --verify damage, which the message
    names; 2 unknown options; 75 unfinished (stopped by SIGTERM, or other processes are gone): the
    same command goes on where it was.
    """

    out: str | None = None
    """The study's folder, local or gs://bucket/path."""
    status: str | None = None
    """Only say how far the study in this folder is."""
    verify: bool = False
    """With --status: read everything that is committed, check all checksums, and name damage."""
    config: Path | None = None
    """A TOML file of fields, such as  dataset = "cifar10"."""
    dataset: str | None = None
    """mnist5k, cifar10, imagenette, or any TFDS image classification set by its TFDS name."""
    split: str | None = None
    """One split, or several joined as in train+test (default: test)."""
    images: int | None = None
    """Only the first so many (default: all)."""
    model: str | None = None
    """A network with trained weights, see signsal evaluate."""
    run: str | None = None
    """A training run's folder, instead of --model."""
    weights: str | None = None
    """For --model: a safetensors or torch file, or hf://owner/name."""
    preprocess: bool | None = None
    """Apply the normalization that the weights were trained with (default: True)."""
    methods: tuple[Literal[METHODS], ...] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """The maps (default: all five)."""
    target: int | str | None = None
    """The class explained: predicted, label, or an index (default: predicted)."""
    store: tuple[Literal[STORABLE], ...] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """What to store (default: maps logits deletion shares norm)."""
    fractions: tuple[float, ...] | None = None
    """Shares of deleted pixels (default: the paper's)."""
    rule: str | None = None
    """How many pixels a fraction deletes: paper or exact (default: paper)."""
    precision: Literal["highest", "high", "default"] | None = None
    """Of float32 products on devices that would round them (default: highest)."""
    storage: Literal[STORAGES] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """The type that maps are stored in (default: float16)."""
    chunk: int | None = None
    """Images computed, stored and committed together (default: 64)."""
    class_chunk: int | None = None
    """Classes pulled back at a time on each device (default: all of its own)."""
    data_dir: Path | None = None
    """Where TFDS sets are prepared (default: TFDS's own folder)."""
    class_devices: int = 1
    """How many devices of a process share the classes of an image."""
    distributed: bool = False
    """Share the study with the other processes of a TPU pod: run the same command on every host."""
    processes: int | None = None
    """Off a pod: how many processes share the study. They need only the folder in common."""
    process: int | None = None
    """With --processes: which of them this is, from 0."""

    def run_command(self) -> int:
        if self.status is not None:
            store = open_study(self.status)
            print("\n".join(status_lines(store)))
            damage = store.verify() if self.verify else []
            if self.verify:
                print("\n".join(damage or ["All checksums of what is committed are right."]))
            return 1 if damage else 0
        if self.out is None:
            raise ValueError("expected --out DIR (or --status DIR), got neither")
        config = self.study_config()
        share = None
        if self.distributed or (self.processes, self.process) != (None, None):
            share = join(self.processes, self.process)
        model = NetworkOptions(
            run=Path(config.run) if config.run else None,
            model=config.model,
            weights=config.weights,
            preprocess=config.preprocess,
        ).load()
        splits = [
            data.load(
                config.dataset,
                split,
                data_dir=self.data_dir,
                image_size=model.input_shape[:2],
                channels=model.input_shape[2],
                photos=model.photos,
            )
            for split in config.split.split("+")
        ]
        mesh = sharding.make_mesh(class_devices=self.class_devices)
        summary = run_study(config, model, splits, self.out, mesh=mesh, share=share)
        if share and share[0]:
            return 0
        store = open_study(self.out)
        unreadable = store.unreadable()
        invalid = summary["images"] - summary["valid"] - len(unreadable)
        accuracy = summary["accuracy"]
        known = "no labels" if accuracy is None else f"accuracy {accuracy:.4f}"
        print(f"{summary['images']} images, {known}: {store.folder}/")
        if unreadable:
            print(f"{len(unreadable)} of them could not be read and are left out:")
            print("\n".join(f"  {problem}" for problem in unreadable.values()))
        if invalid:
            print(f"Of {invalid} the logits or gradients are not finite: see the array valid.")
        return 0

    def study_config(self) -> StudyConfig:
        """The configuration: the file's fields, and over them the flags that were given."""
        names = [field.name for field in dataclasses.fields(StudyConfig)]
        fields: dict[str, Any] = {}
        if self.config is not None:
            try:
                fields = tomllib.loads(self.config.read_text())
            except tomllib.TOMLDecodeError as error:
                raise ValueError(f"--config {self.config}: expected TOML: {error}") from error
        for name in fields:
            if name not in names:
                raise ValueError(
                    f"--config {self.config}: expected fields of {', '.join(names)}; got {name}"
                )
        flags = {name: getattr(self, name) for name in names}
        fields |= {name: value for name, value in flags.items() if value is not None}
        if "dataset" not in fields:
            raise ValueError("expected --dataset NAME, or a dataset in --config, got neither")
        fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return StudyConfig(**fields)
