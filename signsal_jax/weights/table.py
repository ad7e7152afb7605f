"""The parts of a conversion table: one rule per source key."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Transform(NamedTuple):
    """Converts a source array to one of ours; `source_shape` maps our shape to the source's."""

    name: str
    apply: Callable[[np.ndarray], np.ndarray]
    source_shape: Callable[[Shape], Shape]


IDENTITY = Transform("identity", lambda array: array, lambda shape: shape)
CONVOLUTION = Transform(
    "OIHW->HWIO",
    lambda array: array.transpose(2, 3, 1, 0),
    lambda shape: (shape[3], shape[2], shape[0], shape[1]),
)
DENSE = Transform("OI->IO", lambda array: array.T, lambda shape: shape[::-1])
CHANNELS_FIRST_SCALE = Transform(
    "C11->C", lambda array: array.reshape(-1), lambda shape: (*shape, 1, 1)
)


@functools.cache  # equal calls give equal transforms, so that layouts can be compared
def part(place: int, count: int) -> Callable[[Transform], Transform]:
    """The transform of one of `count` arrays that a source has stacked along their first axis."""

    @functools.cache
    def of(transform: Transform) -> Transform:
        def source_shape(shape: Shape) -> Shape:
            first, *rest = transform.source_shape(shape)
            return (count * first, *rest)

        return Transform(
            f"{transform.name}, part {place + 1} of {count}",
            lambda array: transform.apply(np.split(array, count)[place]),
            source_shape,
        )

    return of


class Rule(NamedTuple):
    """Maps one key of the source, or a part of its array, to one of our variables.

    `path` is dotted, as `jax.tree_util.keystr(..., simple=True, separator=".")` writes it.
    """

    source: str
    path: str
    transform: Transform = IDENTITY


class Unneeded(NamedTuple):
    """A key that a source may have but inference does not need."""

    source: str


Rules = list[Rule | Unneeded]


class Layout(NamedTuple):
    """The conversion table of one architecture from one source.

    Attributes:
      architecture: the network's name in the zoo.
      source: the library or repository whose names these are.
      rules: one for every variable, and one for every key that is not needed.
      classifier: the source key whose first dimension is the number of classes.
      mean, std: per channel, for normalizing inputs in [0, 1] as that source's networks expect;
        None if they take raw pixels.
      crop: side of the central square that the source's first published weights are evaluated
        on, as a share of the photo's shorter side.
      interpolation: the method that scales that square: "bilinear" or "bicubic".
      marker: text that the file's name or hub id must contain if the source has another network
        with the same keys and shapes; None if the keys are enough.
      has_head: whether there is a linear layer on top of the network, as in the paper.
    """

    architecture: str
    source: str
    rules: tuple[Rule | Unneeded, ...]
    classifier: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: float = 1.0
    interpolation: str = "bilinear"
    marker: str | None = None
    has_head: bool = False

    @property
    def required(self) -> dict[str, tuple[Rule, ...]]:
        """The rules of all required keys, by source key; several where it has several parts."""
        found: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules:
            if isinstance(rule, Rule):
                found[rule.source] = (*found.get(rule.source, ()), rule)
        return found

    @property
    def ignorable(self) -> frozenset[str]:
        """The keys that may be present but are not needed."""
        return frozenset(rule.source for rule in self.rules if isinstance(rule, Unneeded))


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# 224 of 256 pixels.
IMAGENET_CROP = 0.875


def conv(source: str, path: str, *, use_bias: bool = True) -> Rules:
    """The rules of a torch Conv2d."""
    kernel = Rule(f"{source}.weight", f"{path}.kernel", CONVOLUTION)
    return [kernel, Rule(f"{source}.bias", f"{path}.bias")] if use_bias else [kernel]


def linear(source: str, path: str) -> Rules:
    """The rules of a torch Linear."""
    kernel = Rule(f"{source}.weight", f"{path}.kernel", DENSE)
    return [kernel, Rule(f"{source}.bias", f"{path}.bias")]


def layer_norm(source: str, path: str) -> Rules:
    """The rules of a torch LayerNorm."""
    return [Rule(f"{source}.weight", f"{path}.scale"), Rule(f"{source}.bias", f"{path}.bias")]


def batch_norm(source: str, path: str) -> Rules:
    """The rules of a torch BatchNorm2d; only training without momentum uses its batch counter."""
    return [
        *layer_norm(source, path),
        Rule(f"{source}.running_mean", f"{path}.mean"),
        Rule(f"{source}.running_var", f"{path}.var"),
        Unneeded(f"{source}.num_batches_tracked"),
    ]


def with_head(layout: Layout) -> Layout:
    """The layout of `torch.nn.Sequential(network, Linear)`: the paper's, trained on raw pixels."""

    def moved(rule: Rule | Unneeded) -> Rule | Unneeded:
        source = f"0.{rule.source}"
        if isinstance(rule, Unneeded):
            return Unneeded(source)
        return rule._replace(source=source, path=f"backbone.{rule.path}")

    rules = (*(moved(rule) for rule in layout.rules), *linear("1", "head"))
    source = f"{layout.source}, linear layer on top"
    return layout._replace(
        source=source,
        rules=rules,
        classifier="1.weight",
        mean=None,
        std=None,
        crop=1.0,
        interpolation="bilinear",
        has_head=True,
    )
