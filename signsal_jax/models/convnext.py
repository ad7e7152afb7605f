"""ConvNeXt as in torchvision."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax.models.layers import Conv, Linear, layer_norm, named_features


class Block(nnx.Module):
    """Depthwise 7x7 convolution, layer norm and a two-layer perceptron, scaled per channel."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.conv = Conv(features, features, 7, padding=3, groups=features, rngs=rngs)
        self.norm = layer_norm(features, rngs=rngs)
        self.expand = Linear(features, 4 * features, rngs=rngs)
        self.project = Linear(4 * features, features, rngs=rngs)
        self.layer_scale = nnx.Param(jnp.full((features,), 1e-6))

    def __call__(self, x: Array) -> Array:
        y = self.expand(self.norm(self.conv(x)))
        y = self.project(jax.nn.gelu(y, approximate=False))
        return x + y * self.layer_scale[...].reshape(1, 1, 1, -1)


class Downsample(nnx.Module):
    """Layer norm and a 2x2 convolution that halves the feature map."""

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs):
        self.norm = layer_norm(in_features, rngs=rngs)
        self.conv = Conv(in_features, features, 2, strides=2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.conv(self.norm(x))


class ConvNeXt(nnx.Module):
    """A ConvNeXt network, by default with the depths and widths of ConvNeXt-Tiny.

    Reference: Liu et al., A ConvNet for the 2020s (2022), figure 4 and table 9. Stochastic depth
    is omitted: it acts only during training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_features: int = 3,
        depths: Sequence[int] = (3, 3, 9, 3),
        features: Sequence[int] = (96, 192, 384, 768),
        rngs: nnx.Rngs,
    ):
        self.stem = Conv(in_features, features[0], 4, strides=4, rngs=rngs)
        self.stem_norm = layer_norm(features[0], rngs=rngs)
        self.stages = nnx.List(
            nnx.List(Block(width, rngs=rngs) for _ in range(depth))
            for depth, width in zip(depths, features, strict=True)
        )
        self.downsamples = nnx.List(
            Downsample(i, o, rngs=rngs) for i, o in itertools.pairwise(features)
        )
        self.norm = layer_norm(features[-1], rngs=rngs)
        self.classifier = Linear(features[-1], num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = self.stem_norm(self.stem(images))
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.downsamples[index - 1](x)
            for block in stage:
                x = block(x)
        return self.classifier(self.norm(named_features(x).mean((1, 2))))
