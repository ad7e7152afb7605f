"""Measures the accuracy of published weights, to check that our networks are the published ones.

    python scripts/published_accuracy.py --weights resnet20-cifar10.safetensors --lossless FILE

Evaluates EfficientNet-Lite0, from the package of the extra `demo`, among all 1000 classes on the
validation images of Imagenette, and ResNet-20 on the CIFAR-10 test images and on a file of further
images. Takes one minute on 2 cores. Writes scripts/results/published_accuracy.json.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from scripts.bench.tables import markdown_table
from signsal_jax import _files, _provenance, data, models

OUT = Path(__file__).parent / "results" / "published_accuracy.json"


@dataclasses.dataclass(frozen=True)
class PublishedAccuracy:
    """Measure the accuracy of published weights, each with its own preprocessing."""

    weights: str
    """The CIFAR-10 ResNet-20 of akamaster/pytorch_resnet_cifar10: a torch or safetensors file."""
    lossless: Path | None = None
    """An npz file of further CIFAR-10 images: `x` uint8 [n, 32, 32, 3] and `y` [n]."""
    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    batch_size: int = 100
    """Images per step."""


def accuracy(model: models.Model, dataset: data.Dataset, batch_size: int) -> float:
    """The share of images whose highest logit is their label's."""
    apply = jax.jit(model.apply_fn)
    correct = [
        np.asarray(apply(model.variables, batch.images)).argmax(1)[batch.mask]
        == batch.labels[batch.mask]
        for batch in data.batches(dataset, batch_size)
    ]
    return float(np.concatenate(correct).mean())


def _of_file(path: Path, like: data.Dataset) -> data.Dataset:
    with np.load(path) as arrays:
        source = data.Arrays(arrays["x"], arrays["y"].astype(np.int32))
    note = "CIFAR-10 training images as published, not JPEG-derived."
    return dataclasses.replace(like, name=path.stem, split="all", source=source, note=note)


def measure(command: PublishedAccuracy) -> list[dict[str, Any]]:
    """One entry per network and set: origin, data, number of images, accuracy."""
    imagenette = data.load("imagenette", "test", data_dir=command.data_dir)
    cifar10 = data.load("cifar10", "test", data_dir=command.data_dir)
    lite0 = models.load("efficientnet_lite0")
    resnet20 = models.load("cifar_resnet20", weights=command.weights)
    cases = [(lite0, data.match_classes(imagenette, lite0.class_names)), (resnet20, cifar10)]
    if command.lossless is not None:
        cases.append((resnet20, _of_file(command.lossless, cifar10)))
    return [
        {
            "network": dict(model.origin),
            "data": {"name": dataset.name, "split": dataset.split, "note": dataset.note},
            "images": len(dataset),
            "accuracy": accuracy(model, dataset, command.batch_size),
        }
        for model, dataset in cases
    ]


def table(results: dict[str, Any]) -> str:
    """The result as Markdown."""
    rows = [
        [
            entry["network"]["model"],
            f"{entry['images']:,} of {entry['data']['name']} {entry['data']['split']}",
            str(entry["network"]["classes"]),
            f"{entry['accuracy']:.4f}",
        ]
        for entry in results["measured"]
    ]
    return markdown_table(("network", "images", "among classes", "accuracy"), rows)


def main() -> int:
    """Measures, writes and prints."""
    command = tyro.cli(PublishedAccuracy, description=__doc__)
    try:
        results = {"versions": _provenance.versions(), "measured": measure(command)}
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _files.write_json(OUT, results)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
