"""The ResNets for 32x32 images."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax.models.layers import Conv, Linear, batch_norm, named_features

# No layer of this network compares positions, so ties between them need not be exact.
_conv3x3 = functools.partial(Conv, kernel_size=3, padding=1, use_bias=False, exact_ties=False)


class Block(nnx.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A).

    Where the block changes the shape, the shortcut takes every second pixel and pads the channels
    with zeros, half of the new ones on each side.
    """

    def __init__(self, in_features: int, features: int, *, strides: int, rngs: nnx.Rngs):
        self.conv1 = _conv3x3(in_features, features, strides=strides, rngs=rngs)
        self.bn1 = batch_norm(features, rngs=rngs)
        self.conv2 = _conv3x3(features, features, rngs=rngs)
        self.bn2 = batch_norm(features, rngs=rngs)
        self.strides = strides
        self.new_features = features - in_features

    def _shortcut(self, x: Array) -> Array:
        x = x[:, :: self.strides, :: self.strides]
        before = self.new_features // 2
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, self.new_features - before)))

    def __call__(self, x: Array) -> Array:
        y = jax.nn.relu(self.bn1(self.conv1(x)))
        return jax.nn.relu(self.bn2(self.conv2(y)) + self._shortcut(x))


class CifarResNet(nnx.Module):
    """A residual network of `depth` = 6n + 2 layers: 20, 32, 44, 56, ...

    Reference: He et al., Deep Residual Learning for Image Recognition (2016), section 4.2.
    """

    def __init__(self, num_classes: int, *, in_features: int = 3, depth: int, rngs: nnx.Rngs):
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth: expected 6n + 2 with n >= 1, got {depth}")
        self.stem = Conv(in_features, 16, 3, padding=1, use_bias=False, rngs=rngs)
        self.stem_bn = batch_norm(16, rngs=rngs)
        blocks, width = [], 16
        for stage, features in enumerate((16, 32, 64)):
            for index in range((depth - 2) // 6):
                strides = 2 if stage > 0 and index == 0 else 1
                blocks.append(Block(width, features, strides=strides, rngs=rngs))
                width = features
        self.blocks = nnx.List(blocks)
        self.classifier = Linear(64, num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = jax.nn.relu(self.stem_bn(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(named_features(x).mean((1, 2)))
