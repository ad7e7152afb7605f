"""What the commands over a data set share: where and how a study runs, and running it."""

import dataclasses
import tomllib
from pathlib import Path

import tyro

from signsal_jax import data, sharding
from signsal_jax.cli._network import NetworkOptions
from signsal_jax.models import Model
from signsal_jax.study import Store, StudyConfig, join_pod, open_study, run_study


@dataclasses.dataclass(frozen=True)
class Execution:
    """Where and how it runs; the numbers are the same."""

    config: Path | None = None
    """A TOML file of fields, such as  dataset = "cifar10"."""
    data_dir: Path | None = None
    """Where TFDS sets are prepared (default: TFDS's own folder)."""
    class_names: Path | None = None
    """A text file of names in place of the network's own, one line per class."""
    strict: bool = False
    """An image that is unreadable or gives no finite numbers is an error, not left out."""
    class_devices: int = 1
    """How many devices of a process share the classes of an image."""
    distributed: bool = False
    """On the hosts of one TPU pod slice, which must be started together: run the same command on
    each. Elsewhere any number of processes share a study without it: start the same command."""


StudyOptions = tyro.conf.OmitArgPrefixes[StudyConfig]
ExecutionOptions = tyro.conf.OmitArgPrefixes[Execution]


def with_file(study: StudyConfig, path: Path) -> StudyConfig:
    """The configuration with the fields of a TOML file.

    Raises:
      ValueError: not TOML, unknown fields, or values that a study cannot have.
    """
    names = [field.name for field in dataclasses.fields(StudyConfig)]
    try:
        fields = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path}: expected TOML: {error}") from error
    for name in fields:
        if name not in names:
            raise ValueError(f"--config {path}: expected fields of {', '.join(names)}; got {name}")
    try:
        return study.replaced(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--config {path}: {error}") from error


def load(study: StudyConfig, execution: Execution) -> tuple[Model, list[data.Dataset]]:
    """The network and the data of a study.

    Raises:
      ValueError: no data set, or what the network and the data set raise.
    """
    if not study.dataset:
        raise ValueError("expected --dataset NAME, or a dataset in --config, got neither")
    model = NetworkOptions(
        run=Path(study.run) if study.run else None,
        model=study.model,
        weights=study.weights,
        preprocess=study.preprocess,
        class_names=execution.class_names,
    ).load()
    height, width, channels = model.input_shape
    splits = [
        data.load(
            study.dataset,
            split,
            data_dir=execution.data_dir,
            image_size=(height, width),
            channels=channels,
            photos=model.photos,
        )
        for split in study.splits
    ]
    return model, splits


def run(
    study: StudyConfig,
    execution: Execution,
    model: Model,
    splits: list[data.Dataset],
    out: str,
) -> Store | None:
    """Runs a study to its end; gives it to one of a pod's processes, and None to the others.

    Raises:
      UnfinishedError, ValueError, OSError: as `run_study`.
    """
    process = join_pod() if execution.distributed else 0
    mesh = sharding.make_mesh(class_devices=execution.class_devices)
    run_study(study, model, splits, out, mesh=mesh, strict=execution.strict)
    return None if process else open_study(out)
