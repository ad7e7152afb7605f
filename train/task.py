"""The task of a run: the network it trains, the inputs, and how to form the whole network."""

from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from signsal_jax import data, models, sharding
from signsal_jax._progress import progress
from signsal_jax.models.pretrained import load_network
from signsal_jax.models.registry import HEADED
from signsal_jax.models.resnet import IMAGENET_CLASSES, WithHead
from train.config import TrainConfig

PACKAGE = "package"


class Task(NamedTuple):
    """A network to train and its data.

    Attributes:
      network: the module to train: the whole network, or its last layer alone.
      train_set: random access to (input, label).
      test_batches: the test split, padded, each batch split over the devices.
      frozen: the variables of the whole network that are not trained, by name; empty if all are.
    """

    network: nnx.Module
    train_set: data.Source
    test_batches: list[tuple[Array, ...]]
    frozen: dict[str, Any]

    def whole(self, trained: Any) -> Any:
        """The variables of the whole network, given those of `network`."""
        return {**self.frozen, "head": trained} if self.frozen else trained

    def part(self, whole: Any) -> Any:
        """The inverse of `whole`."""
        return whole["head"] if self.frozen else whole


def start(config: TrainConfig, classes: int, channels: int) -> tuple[nnx.Module, dict[str, Any]]:
    """The whole network before training, and the recorded origin of its initial weights.

    Raises:
      ValueError: weights for a network that takes no layer on top, for other channels than the
        images', without ImageNet's classes, or of another architecture.
    """
    key = jax.random.key(config.seed)
    if config.weights is None:
        return models.create(config.model, classes, in_features=channels, key=key), {}
    if config.model not in HEADED:
        raise ValueError(
            f"weights: expected --model {', '.join(HEADED)}; {config.model} is trained from scratch"
        )
    if channels != 3:
        raise ValueError(f"weights: expected color images, {config.dataset} has {channels} channel")
    weights = None if config.weights == PACKAGE else config.weights
    backbone, origin = load_network(config.model, weights, preprocess=config.preprocess)
    if origin["classes"] != IMAGENET_CLASSES:
        raise ValueError(
            f"weights: expected a network with ImageNet's {IMAGENET_CLASSES} classes, got "
            f"{origin['classes']}"
        )
    network = WithHead(backbone, classes, rngs=nnx.Rngs(params=key))
    return network, origin


def make(
    config: TrainConfig,
    network: nnx.Module,
    train_set: data.Dataset,
    test_set: data.Dataset,
    mesh: Mesh,
) -> Task:
    """The task of a configuration; a frozen network's features are computed here, once."""
    if not config.freeze:
        test_batches = _test_batches(test_set, config.batch_size, mesh)
        return Task(network, data.in_memory(train_set), test_batches, {})
    assert isinstance(network, WithHead)
    backbone = nnx.to_pure_dict(nnx.state(network.backbone))
    train_features, test_features = (
        _features(network.backbone, dataset, config.batch_size, mesh)
        for dataset in (train_set, test_set)
    )
    return Task(
        network.head,
        train_features,
        _test_batches(test_features, config.batch_size, mesh),
        {"backbone": backbone},
    )


def _test_batches(source: data.Source, batch_size: int, mesh: Mesh) -> list[tuple[Array, ...]]:
    return [
        tuple(sharding.place(mesh, _own_rows(part)) for part in batch)
        for batch in data.batches(source, batch_size)
    ]


def _own_rows(batch: np.ndarray) -> np.ndarray:
    """The rows of a batch that this process's devices hold."""
    return np.split(batch, jax.process_count())[jax.process_index()]


def _features(
    backbone: nnx.Module, dataset: data.Dataset, batch_size: int, mesh: Mesh
) -> data.Arrays:
    """The frozen network's output for every image, and the labels; the same in every process."""
    apply_fn, variables = models.from_nnx(backbone)
    apply = jax.jit(apply_fn, out_shardings=NamedSharding(mesh, PartitionSpec()))
    variables = sharding.replicate(mesh, variables)
    features, labels = [], []
    total = -(-len(dataset) // batch_size)
    title = f"features of {dataset.split}"
    with progress(title, total, "batch") as bar:
        for batch in data.batches(dataset, batch_size):
            images = sharding.place(mesh, _own_rows(batch.images))
            features.append(np.asarray(apply(variables, images))[batch.mask])
            labels.append(batch.labels[batch.mask])
            bar.update()
    return data.Arrays(np.concatenate(features), np.concatenate(labels))
