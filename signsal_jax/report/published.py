"""The figures that the paper gives, and which results are of the same network and data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from signsal_jax.evaluations import PAPER_CURVES, PAPER_FRACTIONS

Figure = str | tuple[str, str]
"""A figure of the paper: "accuracy", or an area by fill and map."""
SEED, EPOCHS = 42, 50
"""Of the paper's trainings."""
_TRAINED_ON = "train"


class Published(NamedTuple):
    """One network of the paper.

    Attributes:
      title: its data set and name.
      dataset: the data set's name, without version.
      model: the network's name.
      frozen: whether it has ImageNet weights, of which only the last layer was trained.
      figures: on the test split: accuracy, and AUC by (fill, map).
    """

    title: str
    dataset: str
    model: str
    frozen: bool
    figures: Mapping[Figure, float]


def _figures(*values: float) -> dict[Figure, float]:
    return dict(zip(("accuracy", *PAPER_CURVES), values, strict=True))


# arXiv 2309.12913, Tables 1 to 3: accuracy, black deletion, white deletion.
PUBLISHED = {
    "cifar10-cnn": Published(
        "CIFAR-10, Basic CNN",
        "cifar10",
        "cnn",
        False,
        _figures(0.6307, 0.23, 0.14, 0.15, 0.21, 0.14, 0.15),
    ),
    "cifar10-resnet18": Published(
        "CIFAR-10, ResNet-18",
        "cifar10",
        "resnet18",
        False,
        _figures(0.7569, 0.23, 0.11, 0.11, 0.22, 0.12, 0.12),
    ),
    "imagenette-cnn": Published(
        "Imagenette, Basic CNN",
        "imagenette",
        "cnn",
        False,
        _figures(0.6205, 0.24, 0.12, 0.16, 0.21, 0.11, 0.14),
    ),
    "imagenette-resnet18": Published(
        "Imagenette, ResNet-18",
        "imagenette",
        "resnet18",
        False,
        _figures(0.8357, 0.26, 0.14, 0.14, 0.23, 0.18, 0.16),
    ),
    "imagenette-resnet18-pretrained": Published(
        "Imagenette, ResNet-18 pretrained",
        "imagenette",
        "resnet18",
        True,
        _figures(0.9733, 0.28, 0.21, 0.24, 0.26, 0.20, 0.23),
    ),
    "imagenette-convnext_tiny": Published(
        "Imagenette, ConvNeXt-Tiny pretrained",
        "imagenette",
        "convnext_tiny",
        True,
        _figures(0.9932, 0.49, 0.37, 0.39, 0.46, 0.37, 0.42),
    ),
}


def training(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that a network was trained with, as far as its results say."""
    network = content["network"]
    return network.get("training") or network


def unlike(content: Mapping[str, Any], published: Published) -> str | None:
    """What keeps results of `signsal evaluate` from being compared with the paper's.

    Args:
      content: of results.json.
      published: the paper's network.

    Returns:
      What was expected and what was found; None if they can be compared.
    """
    results, configuration, dataset = (content[k] for k in ("results", "configuration", "dataset"))
    settings = training(content)
    found = {
        "data set": (published.dataset, dataset["name"].partition("/")[0].partition(":")[0]),
        "network": (published.model, settings.get("model")),
        "frozen weights": (published.frozen, bool(settings.get("freeze"))),
        "rule": ("paper", configuration["rule"]),
        "fractions": ([*PAPER_FRACTIONS], results.get("fractions")),
        "estimator": ("plain", (content.get("estimator") or {"name": "plain"})["name"]),
        "complete": (True, results.get("complete", True)),
    }
    for name, (expected, got) in found.items():
        if expected != got:
            return f"{name}: expected {expected}, got {got}"
    if dataset["split"] == _TRAINED_ON:
        return "split: expected one that was not trained on, got train"
    curves = {(curve["fill"], curve["map"]) for curve in results["curves"]}
    if missing := [" ".join(curve) for curve in PAPER_CURVES if curve not in curves]:
        return f"curves: expected all of the paper's, got none of {', '.join(missing)}"
    return None


def matching(content: Mapping[str, Any]) -> str | None:
    """The name of the paper's network that results can be compared with, None if there is none."""
    return next((name for name, one in PUBLISHED.items() if unlike(content, one) is None), None)
