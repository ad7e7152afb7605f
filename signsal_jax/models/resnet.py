"""ResNets as in torchvision, and the paper's linear layer on top of any network."""

import functools
from collections.abc import Sequence

import jax
from flax import nnx
from jax import Array

from signsal_jax import nn
from signsal_jax.models.layers import Conv, Linear, batch_norm, named_features

# After the stem's max-pool, no layer compares positions, so ties between them need not be exact.
_conv3x3 = functools.partial(Conv, kernel_size=3, padding=1, use_bias=False, exact_ties=False)


class Projection(nnx.Module):
    """The 1x1 convolution of a shortcut whose block changes the shape (option B)."""

    def __init__(self, in_features: int, features: int, *, strides: int, rngs: nnx.Rngs):
        self.conv = Conv(in_features, features, 1, strides=strides, use_bias=False, rngs=rngs)
        self.bn = batch_norm(features, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.bn(self.conv(x))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    expansion = 1

    def __init__(self, in_features: int, features: int, *, strides: int, rngs: nnx.Rngs):
        self.conv1 = _conv3x3(in_features, features, strides=strides, rngs=rngs)
        self.bn1 = batch_norm(features, rngs=rngs)
        self.conv2 = _conv3x3(features, features, rngs=rngs)
        self.bn2 = batch_norm(features, rngs=rngs)
        changes = strides != 1 or in_features != features
        self.projection = (
            Projection(in_features, features, strides=strides, rngs=rngs) if changes else None
        )

    def __call__(self, x: Array) -> Array:
        shortcut = x if self.projection is None else self.projection(x)
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        return jax.nn.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the features, and a shortcut.

    The 3x3 has the stride, as in torchvision; in He et al. the first 1x1 has it.
    """

    expansion = 4

    def __init__(self, in_features: int, features: int, *, strides: int, rngs: nnx.Rngs):
        out_features = features * self.expansion
        self.conv1 = Conv(in_features, features, 1, use_bias=False, rngs=rngs)
        self.bn1 = batch_norm(features, rngs=rngs)
        self.conv2 = _conv3x3(features, features, strides=strides, rngs=rngs)
        self.bn2 = batch_norm(features, rngs=rngs)
        self.conv3 = Conv(features, out_features, 1, use_bias=False, rngs=rngs)
        self.bn3 = batch_norm(out_features, rngs=rngs)
        changes = strides != 1 or in_features != out_features
        self.projection = (
            Projection(in_features, out_features, strides=strides, rngs=rngs) if changes else None
        )

    def __call__(self, x: Array) -> Array:
        shortcut = x if self.projection is None else self.projection(x)
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        x = jax.nn.relu(self.bn2(self.conv2(x)))
        return jax.nn.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nnx.Module):
    """A residual network with torchvision's ImageNet stem.

    Depths (2, 2, 2, 2) and (3, 4, 6, 3) of `BasicBlock` are ResNet-18 and 34; (3, 4, 6, 3) of
    `Bottleneck` is ResNet-50.

    Reference: He et al., Deep Residual Learning for Image Recognition (2016), table 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_features: int = 3,
        depths: Sequence[int] = (2, 2, 2, 2),
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        rngs: nnx.Rngs,
    ):
        self.stem = Conv(in_features, 64, 7, strides=2, padding=3, use_bias=False, rngs=rngs)
        self.stem_bn = batch_norm(64, rngs=rngs)
        blocks, width = [], 64
        for stage, depth in enumerate(depths):
            features = 64 * 2**stage
            for index in range(depth):
                strides = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(width, features, strides=strides, rngs=rngs))
                width = features * block.expansion
        self.blocks = nnx.List(blocks)
        self.classifier = Linear(width, num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = jax.nn.relu(self.stem_bn(self.stem(images)))
        x = nn.max_pool(x, window=3, strides=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return self.classifier(named_features(x).mean((1, 2)))


IMAGENET_CLASSES = 1000


class WithHead(nnx.Module):
    """A network that keeps its 1000-way layer, with a linear layer to `num_classes` on top.

    Reference: arXiv 2309.12913, the ResNet-18 and ConvNeXt experiments.
    """

    def __init__(self, backbone: nnx.Module, num_classes: int, *, rngs: nnx.Rngs):
        self.backbone = backbone
        self.head = Linear(IMAGENET_CLASSES, num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        return self.head(self.backbone(images))
