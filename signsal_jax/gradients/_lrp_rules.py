"""The rules of layer-wise relevance propagation (LRP) for layers with weights.

Each says how a layer's relevance R is shared among its inputs x. All are of one form: contributions
c that add up to z, and R · c / z for each. The rules differ in which contributions count, in the
notation of Montavon et al. (2019), https://doi.org/10.1007/978-3-030-28954-6_10, sections 10.2 and
10.A; for inputs of either sign they are those of zennit (arXiv 2106.13200).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._vma import varying_like
from signsal_jax.gradients._affine import Affine


class Settings(NamedTuple):
    """The numbers that rules depend on."""

    epsilon: float
    """Added to every denominator, with its sign."""
    gamma: float
    alpha: float


Box = tuple[Array, Array] | None
"""The lowest and highest values that the inputs could have."""


def stabilized(values: Array, epsilon: float) -> Array:
    """Moves values away from zero by epsilon; a zero that stays one becomes 1."""
    moved = jnp.where(values < 0, values - epsilon, values + epsilon)
    return jnp.where(moved == 0, 1, moved)


Sharing = Callable[[Array], Array]
"""From the relevance of a layer's outputs to that of its inputs."""


def share(
    contribution: Callable[..., Array],
    operands: Sequence[Array],
    bias: Array | float,
    epsilon: float,
) -> Sharing:
    """Shares relevance by what each operand adds to a linear function plus the bias."""
    # The denominators are the same for all classes, so they are computed once.
    total, pull = jax.vjp(contribution, *operands)
    denominator = stabilized(total + bias, epsilon)

    def shared(relevance: Array) -> Array:
        pulled = pull((relevance / denominator).astype(total.dtype))
        shares = [operand * one for operand, one in zip(operands, pulled, strict=True)]
        return functools.reduce(jnp.add, shares)

    return shared


def _split(values: Array) -> tuple[Array, Array]:
    return jnp.maximum(values, 0), jnp.minimum(values, 0)


def epsilon(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts all contributions and the bias, as gradient x input does."""
    return share(layer.linear, (layer.inputs.array,), layer.bias, settings.epsilon)


def _supporting(layer: Affine, above: Array, below: Array) -> Array:
    """What positive and negative inputs add by weights of their own sign."""
    return layer.positive(above) + layer.negative(below)


def _opposing(layer: Affine, above: Array, below: Array) -> Array:
    return layer.negative(above) + layer.positive(below)


def z_plus(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts positive contributions only."""
    contribution = functools.partial(_supporting, layer)
    bias = jnp.maximum(layer.bias, 0)
    return share(contribution, _split(layer.inputs.array), bias, settings.epsilon)


def alpha_beta(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts positive contributions alpha times, and takes off negative ones alpha - 1 times."""
    supporting = z_plus(layer, box, settings)
    contribution = functools.partial(_opposing, layer)
    bias = jnp.minimum(layer.bias, 0)
    opposing = share(contribution, _split(layer.inputs.array), bias, settings.epsilon)

    def shared(relevance: Array) -> Array:
        alpha = settings.alpha
        return alpha * supporting(relevance) - (alpha - 1) * opposing(relevance)

    return shared


def gamma(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts all contributions, and gamma times more those with the sign of the output."""
    inputs = layer.inputs.array
    outputs = layer.linear(inputs) + layer.bias

    def favoring(favored: Callable[..., Array], bias: Array) -> Sharing:
        def contribution(inputs: Array, above: Array, below: Array) -> Array:
            return layer.linear(inputs) + settings.gamma * favored(layer, above, below)

        bias = layer.bias + settings.gamma * bias
        return share(contribution, (inputs, *_split(inputs)), bias, settings.epsilon)

    above, below = _split(layer.bias)
    of_positive, of_negative = favoring(_supporting, above), favoring(_opposing, below)

    def shared(relevance: Array) -> Array:
        return of_positive(jnp.where(outputs > 0, relevance, 0)) + of_negative(
            jnp.where(outputs < 0, relevance, 0)
        )

    return shared


def box(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts how far each input is from the value that would contribute least: for pixels."""
    assert box is not None

    def contribution(inputs: Array, low: Array, high: Array) -> Array:
        return layer.linear(inputs) - layer.positive(low) - layer.negative(high)

    return share(contribution, (layer.inputs.array, *box), 0.0, settings.epsilon)


def flat(layer: Affine, box: Box, settings: Settings) -> Sharing:
    """Counts every input alike."""
    weights, inputs = (
        varying_like(jnp.ones_like(values), values)
        for values in (layer.weights, layer.inputs.array)
    )

    def contribution(inputs: Array) -> Array:
        return layer.unscaled(inputs, weights)

    return share(contribution, (inputs,), 0.0, settings.epsilon)


Rule = Callable[[Affine, Box, Settings], Sharing]


class Composite(NamedTuple):
    """A rule for each kind of layer, and one for the first layer of a kind."""

    dense: Rule
    convolution: Rule
    first: Rule | None = None
    first_kinds: tuple[str, ...] = ()


_ANY = ("convolution", "dense")
COMPOSITES = {
    "epsilon": Composite(epsilon, epsilon),
    "z_plus": Composite(z_plus, z_plus),
    "gamma": Composite(gamma, gamma),
    "alpha_beta": Composite(alpha_beta, alpha_beta),
    "epsilon_plus": Composite(epsilon, z_plus),
    "epsilon_plus_flat": Composite(epsilon, z_plus, flat, _ANY),
    "epsilon_alpha_beta": Composite(epsilon, alpha_beta),
    "epsilon_alpha_beta_flat": Composite(epsilon, alpha_beta, flat, _ANY),
    "epsilon_gamma_box": Composite(epsilon, gamma, box, ("convolution",)),
}
"""By name: the same rule everywhere, and the composites of zennit."""
