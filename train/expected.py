"""Accuracy and duration to expect of the paper's training runs."""

from typing import NamedTuple

from train.config import TrainConfig


class Expected(NamedTuple):
    """One of the paper's runs.

    Attributes:
      accuracy: arXiv 2309.12913, test split.
      ours: the accuracy that this package reached, with the data, if it was tried.
      duration: time for 50 epochs on 2 cores of a server CPU, without a GPU, if it was measured.
    """

    accuracy: float
    ours: str = ""
    duration: str = ""


# By data set, network, and whether only the layer on top is trained.
_PAPER = {
    ("cifar10", "cnn", False): Expected(0.6307, "0.63 on JPEG-derived pixels", "25 minutes"),
    ("cifar10", "resnet18", False): Expected(0.7569, duration="2 hours"),
    ("imagenette", "cnn", False): Expected(0.6205, "0.63", "2 hours"),
    ("imagenette", "resnet18", False): Expected(0.8357),
    ("imagenette", "resnet18", True): Expected(0.9733),
    ("imagenette", "convnext_tiny", True): Expected(0.9932),
}
_SETTINGS = ("epochs", "batch_size", "learning_rate", "weight_decay", "image_size", "preprocess")


def line(config: TrainConfig) -> str | None:
    """The line to print for the paper's configurations, with any seed; None for others."""
    default = TrainConfig(out=config.out)
    if any(getattr(config, name) != getattr(default, name) for name in _SETTINGS):
        return None
    if (config.weights is None) == config.freeze:
        return None
    expected = _PAPER.get((config.dataset, config.model, config.freeze))
    if expected is None:
        return None
    ours = f" (here {expected.ours})" if expected.ours else ""
    duration = (
        f", after about {expected.duration} on 2 CPU cores, less on a GPU"
        if expected.duration
        else "; how long it takes has not been measured"
    )
    return f"expect a test accuracy of about {expected.accuracy:.2f}, the paper's{ours}{duration}"
