"""The paper's Basic CNN."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jax import Array

from signsal_jax import nn
from signsal_jax.models.layers import Conv, Linear, named_features


class Block(nnx.Module):
    """Three convolutions, the second of which halves the feature map."""

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [
                Conv(in_features, features, 3, padding=1, exact_ties=False, rngs=rngs),
                Conv(features, features, 3, strides=2, padding=1, exact_ties=False, rngs=rngs),
                Conv(features, features, 3, padding=1, exact_ties=False, rngs=rngs),
            ]
        )

    def __call__(self, x: Array) -> Array:
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return x


class BasicCNN(nnx.Module):
    """Stem, three blocks of three convolutions, global average pool, linear.

    Reference: arXiv 2309.12913, the Basic CNN (no normalization layer).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_features: int = 3,
        features: Sequence[int] = (32, 64, 128),
        rngs: nnx.Rngs,
    ):
        self.stem = Conv(in_features, 32, 7, strides=2, padding=3, rngs=rngs)
        widths = (32, *features)
        self.blocks = nnx.List([Block(i, o, rngs=rngs) for i, o in itertools.pairwise(widths)])
        self.classifier = Linear(widths[-1], num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = jax.nn.relu(self.stem(images))
        x = nn.max_pool(x, window=3, strides=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return self.classifier(named_features(x).mean((1, 2)))
