"""Inner products of all class gradients, from their two factors: the gradients never exist."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax._precision import at_least_float32
from signsal_jax._vma import varying_like
from signsal_jax.gradients._factors import Factors
from signsal_jax.gradients._products import ScoreWeights

FeatureGram = Float[Array, "b e e"]

# Pixels and channels whose signs exist at a time, for every class.
_PIXELS = 1536
_HIGHEST = jax.lax.Precision.HIGHEST


def feature_gram(factors: Factors) -> FeatureGram:
    """Returns the inner products of the features' gradients `[b, e, e]`, equal on all devices."""
    rows = factors.rows.astype(at_least_float32(factors.rows.dtype))
    return factors.total(jnp.einsum("bdn,ben->bde", rows, rows, precision=_HIGHEST))


def class_gram(gram: FeatureGram, weights: ScoreWeights) -> Float[Array, "b k k"]:
    """Computes the inner products of the class gradients: W G Wᵀ.

    Args:
      gram: the inner products of the features' gradients.
      weights: the derivatives of the scores by the features `[n, k, e]`, n = 1 or b.
    """
    weights = weights.astype(gram.dtype)
    halves = jnp.matmul(weights, gram, precision=_HIGHEST)
    return jnp.matmul(halves, weights.transpose(0, 2, 1), precision=_HIGHEST)


def factor_norms(factors: Factors) -> Float[Array, "b k"]:
    """Computes the l2 norms of the class gradients: the root of the diagonal of W G Wᵀ."""
    gram = feature_gram(factors)
    weights = factors.everywhere(factors.weights).astype(gram.dtype)
    halves = jnp.matmul(weights, gram, precision=_HIGHEST)
    # Rounding may take the square of a norm that is zero below it.
    return jnp.sqrt(jnp.maximum((halves * weights).sum(2), 0))


def factor_gram(factors: Factors) -> Float[Array, "b k k"]:
    """Computes the inner products of the class gradients."""
    return class_gram(feature_gram(factors), factors.everywhere(factors.weights))


def factor_sign_agreement(factors: Factors) -> Float[Array, "b k k"]:
    """Computes the mean product of the signs of each pair of class gradients.

    The products of the factors are taken once, for some pixels at a time.
    """
    wide = at_least_float32(factors.rows.dtype)
    missing = -factors.rows.shape[2] % min(_PIXELS, factors.rows.shape[2])
    # The sign of padding is zero.
    rows = jnp.pad(factors.rows, ((0, 0), (0, 0), (0, missing))).astype(wide)
    weights = factors.weights.astype(wide)

    def one_image(item: tuple[Array, Array | None]) -> Array:
        rows, own_weights = item
        scores = weights[0] if own_weights is None else own_weights
        blocks = jnp.moveaxis(rows.reshape(len(rows), -1, min(_PIXELS, rows.shape[1])), 1, 0)

        def add(total: Array, block: Array) -> tuple[Array, None]:
            signs = jnp.sign(jnp.matmul(scores, block, precision=_HIGHEST))
            # Sums of -1, 0 and 1: exact in float32 up to 2^24 entries, in any order.
            return total + jnp.matmul(signs, signs.T, precision=_HIGHEST), None

        nothing = varying_like(jnp.zeros((len(scores), len(scores)), wide), rows)
        return jax.lax.scan(add, nothing, blocks)[0]

    own_weights = None if len(weights) == 1 else weights
    sums = factors.total(jax.lax.map(one_image, (rows, own_weights)))
    return sums / factors.own_rows[0, 0].size
