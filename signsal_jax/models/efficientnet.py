"""EfficientNet-Lite0."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax.models.layers import Conv, Linear, batch_norm, named_features

_EPSILON = 1e-3

# Per stage: kernel size, strides of the first block, expansion, output features, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def _pad_same(x: Array, kernel_size: int, strides: int) -> Array:
    """Pads with zeros as TensorFlow's "SAME" does: if their number is odd, one more at the end."""

    def amounts(size: int) -> tuple[int, int]:
        total = max((-(-size // strides) - 1) * strides + kernel_size - size, 0)
        return total // 2, total - total // 2

    return jnp.pad(x, ((0, 0), amounts(x.shape[1]), amounts(x.shape[2]), (0, 0)))


class ConvNorm(nnx.Module):
    """A convolution with "SAME" padding and batch normalization."""

    def __init__(
        self,
        in_features: int,
        features: int,
        kernel_size: int,
        *,
        strides: int = 1,
        groups: int = 1,
        rngs: nnx.Rngs,
    ):
        self.kernel_size, self.strides = kernel_size, strides
        # At stride 1 an odd kernel has the same padding on both sides.
        padding = kernel_size // 2 if strides == 1 else 0
        self.conv = Conv(
            in_features,
            features,
            kernel_size,
            strides=strides,
            padding=padding,
            groups=groups,
            use_bias=False,
            rngs=rngs,
        )
        self.bn = batch_norm(features, epsilon=_EPSILON, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        if self.strides > 1:
            x = _pad_same(x, self.kernel_size, self.strides)
        return self.bn(self.conv(x))


class Block(nnx.Module):
    """An inverted bottleneck: expand, depthwise convolution, project; no squeeze-and-excitation."""

    def __init__(
        self,
        in_features: int,
        features: int,
        kernel_size: int,
        *,
        strides: int,
        expansion: int,
        rngs: nnx.Rngs,
    ):
        width = in_features * expansion
        self.expand = ConvNorm(in_features, width, 1, rngs=rngs) if expansion > 1 else None
        self.depthwise = ConvNorm(
            width, width, kernel_size, strides=strides, groups=width, rngs=rngs
        )
        self.project = ConvNorm(width, features, 1, rngs=rngs)
        self.residual = strides == 1 and in_features == features

    def __call__(self, x: Array) -> Array:
        y = x if self.expand is None else jax.nn.relu6(self.expand(x))
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite0(nnx.Module):
    """EfficientNet-B0 adapted to integer hardware: ReLU6, no squeeze-and-excitation.

    Reference: Tan and Le, EfficientNet (2019), table 1, with the changes of the "lite" models in
    TensorFlow's reference implementation. Dropout and stochastic depth are omitted: they act only
    during training.
    """

    def __init__(self, num_classes: int, *, in_features: int = 3, rngs: nnx.Rngs):
        self.stem = ConvNorm(in_features, 32, 3, strides=2, rngs=rngs)
        blocks, width = [], 32
        for kernel_size, first_strides, expansion, features, depth in _STAGES:
            for index in range(depth):
                strides = first_strides if index == 0 else 1
                blocks.append(
                    Block(
                        width,
                        features,
                        kernel_size,
                        strides=strides,
                        expansion=expansion,
                        rngs=rngs,
                    )
                )
                width = features
        self.blocks = nnx.List(blocks)
        self.neck = ConvNorm(width, 1280, 1, rngs=rngs)
        self.classifier = Linear(1280, num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        x = jax.nn.relu6(self.stem(images))
        for block in self.blocks:
            x = block(x)
        return self.classifier(named_features(jax.nn.relu6(self.neck(x))).mean((1, 2)))
