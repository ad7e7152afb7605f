"""The settings of a training run."""

import dataclasses
from pathlib import Path
from typing import Literal

from signsal_jax.models import MODELS


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a network of the zoo; the defaults are the paper's (arXiv 2309.12913).

    The paper's CIFAR-10 CNN:  python -m train --dataset cifar10 --model cnn --out runs/cifar10-cnn
    """

    out: Path
    """The run folder: new, empty, or a run with the same configuration, which is then resumed."""
    dataset: str = "cifar10"
    """mnist5k, cifar10, imagenette, or any TFDS image classification set by its TFDS name."""
    model: Literal[MODELS] = "cnn"  # pyright: ignore[reportInvalidTypeForm]
    """The network."""
    weights: str | None = None
    """Start from ImageNet weights: a safetensors or torch file, hf://owner/name, or "package"."""
    freeze: bool = False
    """Train only the linear layer on top; the layers below keep the values of --weights."""
    preprocess: bool = False
    """Apply the normalization of --weights; the paper feeds raw [0, 1] pixels."""
    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize to (default: the data set's own size)."""
    epochs: int = 50
    """Number of times that every image is seen."""
    batch_size: int = 128
    """Images per step."""
    learning_rate: float = 1e-3
    """AdamW's constant learning rate."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    seed: int = 42
    """Seed of the initial weights and of the order of the images."""
    checkpoint_every: int | None = None
    """Steps between checkpoints (default: one epoch)."""
    log_every: int = 50
    """Steps between lines of the metrics file."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: expected an integer in [0, 2**32 - 1], got {self.seed}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: expected more than 0, got {self.learning_rate}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: expected at least 0, got {self.weight_decay}")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every: expected at least 1, got {self.checkpoint_every}")
        if self.weights is None and (self.freeze or self.preprocess):
            raise ValueError("weights: expected with --freeze and --preprocess, got none")
