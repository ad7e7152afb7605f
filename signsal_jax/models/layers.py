"""The zoo's parameterized layers, in Flax NNX, with torch's layout, padding and initial values."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from signsal_jax import nn


def named_features(outputs: Array) -> Array:
    """Names the last outputs that have positions, which estimators such as `grad_cam` explain."""
    return checkpoint_name(outputs, "features")


def _uniform(rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int) -> nnx.Param:
    """Torch's default for both weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / np.sqrt(fan_in)
    return nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound))


class Conv(nnx.Module):
    """A square convolution with kernel `[kh, kw, in / groups, out]`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: int = 0,
        groups: int = 1,
        use_bias: bool = True,
        exact_ties: bool = True,
        rngs: nnx.Rngs,
    ):
        self.strides, self.padding, self.groups = strides, padding, groups
        self.exact_ties = exact_ties
        fan_in = kernel_size**2 * in_features // groups
        shape = (kernel_size, kernel_size, in_features // groups, out_features)
        self.kernel = _uniform(rngs, shape, fan_in)
        self.bias = _uniform(rngs, (out_features,), fan_in) if use_bias else None

    def __call__(self, x: Array) -> Array:
        x = nn.conv2d(
            x,
            self.kernel[...],
            strides=self.strides,
            padding=self.padding,
            groups=self.groups,
            exact_ties=self.exact_ties,
        )
        return x if self.bias is None else x + self.bias[...].reshape(1, 1, 1, -1)


class Linear(nnx.Module):
    """A dense layer over the last axis, with kernel `[in, out]`."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        self.kernel = _uniform(rngs, (in_features, out_features), in_features)
        self.bias = _uniform(rngs, (out_features,), in_features)

    def __call__(self, x: Array) -> Array:
        bias = self.bias[...]
        return x @ self.kernel[...] + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def batch_norm(features: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalization with torch's momentum (0.1 there is 0.9 here) and epsilon."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=epsilon, rngs=rngs)


def layer_norm(features: int, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalization over the channels with ConvNeXt's epsilon."""
    # The fast variance, E[x²] - E[x]², loses digits that parity with torch needs.
    return nnx.LayerNorm(features, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
