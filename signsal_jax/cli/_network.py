"""The network that a command line names, and what a result says of its making."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from signsal_jax import _provenance
from signsal_jax.checkpoint import load_run
from signsal_jax.models import MODELS, Model, load
from signsal_jax.models.pretrained import PACKAGED

_NAMES = (*PACKAGED, *MODELS)


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """Which network: a training run's, or one of the zoo with trained weights."""

    run: Path | None = None
    """A training run's folder."""
    model: Literal[_NAMES] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """A network with trained weights: cnn-cifar10, cnn-imagenette and efficientnet_lite0 have
    theirs."""
    weights: str | None = None
    """For --model: a safetensors or torch file, or hf://owner/name."""
    preprocess: bool = True
    """Apply the normalization that the weights were trained with; otherwise feed raw pixels."""

    class_names: Path | None = None
    """A text file of names in place of the network's own, one line per class."""

    def load(self, default: str | None = None) -> Model:
        """The network.

        Raises:
          ValueError: neither or both of a run and a name, or either is unusable; class names
            that do not fit.
        """
        model = self._load(default)
        if self.class_names is None:
            return model
        names = _read_names(self.class_names)
        if len(names) != len(model.class_names):
            raise ValueError(
                f"--class-names {self.class_names}: expected {len(model.class_names)} lines, as "
                f"many as the network has classes, got {len(names)}"
            )
        return model._replace(class_names=names)

    def files(self) -> list[Path]:
        """The files that are read."""
        named = [self.class_names, *([self.weights] if self.weights else [])]
        return [Path(path) for path in named if path is not None]

    def _load(self, default: str | None) -> Model:
        name = self.model or (None if self.run else default)
        if (self.run is None) == (name is None):
            got = "neither" if self.run is None else "both"
            raise ValueError(f"expected one of --run DIR and --model NAME, got {got}")
        if self.run is not None:
            if self.weights is not None or not self.preprocess:
                given = "--no-preprocess" if self.weights is None else "--weights"
                raise ValueError(
                    f"{given}: expected with --model only, got --run, which has its own"
                )
            return load_run(self.run)
        assert name is not None
        if self.weights is not None and self.model is None:
            raise ValueError("--weights: expected with --model NAME, got no --model")
        return load(name, weights=self.weights, preprocess=self.preprocess)


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"--class-names {path}: expected UTF-8 text: {error}") from error
    if "" in names:
        raise ValueError(
            f"--class-names {path}: expected a name on every line, got none on line "
            f"{names.index('') + 1}"
        )
    return names


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def provenance(command: Any, model: Model) -> dict[str, Any]:
    """The head of a results.json: the command's configuration, the network, versions, device."""
    configuration = _plain(dataclasses.asdict(command))
    if configuration["network"]["run"] is not None:
        # What a run was trained with, its own configuration says below.
        configuration["network"] = {"run": configuration["network"]["run"]}
    return {
        "configuration": configuration,
        "network": dict(model.origin),
        "versions": _provenance.versions(),
        "device": _provenance.device(),
    }
