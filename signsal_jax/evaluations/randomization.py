"""Model randomization: does a map, and its sign, depend on what the network has learned?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.evaluations._layers import layer_numbers, randomized
from signsal_jax.evaluations._ranks import unit_ranks
from signsal_jax.evaluations.claims import claimed_values
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    ArraySpec,
    Classified,
    Entry,
    NetworkResult,
    Options,
    Sizes,
)

STAGES = ("top", "half", "all")
RANDOMIZATION_SCORES = ("signed", "absolute")
_BINS = 100


class Randomization(NamedTuple):
    """How far maps of a randomized network are from the network's own.

    Attributes:
      correlation: `[b, stage, score]`, by `STAGES` and `RANDOMIZATION_SCORES`: Spearman's rank
        correlation with the map of the trained network, of signed values and of their magnitudes,
        in [-1, 1]; 0 for a map that depends on nothing but what was learned.
      entropy_rise: `[b]`, by how much the entropy of the values' histogram rises, relative to what
        it was; NaN where it was 0. Above 0, the random network's map is more complex.
    """

    correlation: Float[Array, "b stage score"]
    entropy_rise: Float[Array, " b"]


def model_randomization(
    explain: Callable[[Any], Mapping[str, Float[Array, "b h w c"]]],
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    key: Array,
) -> dict[str, Randomization]:
    """Shuffles weights from the top layer down and compares maps with those of the network.

    In three steps, each with all above it: the last layer, the upper half, all layers. Each leaf is
    shuffled, so that it keeps its distribution. Sign-free comparisons can miss that a map has lost
    its meaning: magnitudes follow edges of the image, signs do not.

    Cost: the explanation of a batch, four times.

    Args:
      explain: from variables to signed values by name, `[b, h, w, c]`, such as `claimed_values` for
        the class that the network itself is explained for.
      apply_fn: `apply_fn(variables, images) -> logits`; only traced, for the order of the layers.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, of which only shape and type matter.
      key: of the shuffles.

    Returns:
      By name `Randomization`.

    Raises:
      TypeError, ValueError: no classifier, images of the wrong rank or type, no used weights.

    Reference: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292
    (cascading randomization); Hedström et al., arXiv 2401.06465 (few steps instead of one per
    layer, and the rise of the entropy, eMPRT, equation 4).

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import model_randomization
    >>> def apply_fn(variables, images):
    ...     return images.reshape(1, -1) @ variables["first"] @ variables["head"]
    >>> variables = {"first": jnp.ones((4, 4)), "head": jnp.arange(8.0).reshape(4, 2)}
    >>> images = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> found = model_randomization(
    ...     lambda variables: {"image": images}, apply_fn, variables, images, key=jax.random.key(0))
    >>> found["image"].correlation[0, :, 0].round(3).tolist()  # it depends on no weight
    [1.0, 1.0, 1.0]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _checks.check_key("key", key)
    layers = layer_numbers(apply_fn, variables, jnp.asarray(images))
    count = max(layers, default=-1) + 1
    if not count:
        raise ValueError("variables: expected weights that the classifier uses, got none")
    before = dict(explain(variables))
    own = {name: _ranks(values) for name, values in before.items()}

    def compare(top: Array) -> dict[str, tuple[Array, Array]]:
        """By name, the correlations with the map of the network itself, and the entropy."""
        found = {}
        for name, values in explain(randomized(variables, layers, key, top)).items():
            pairs = zip(own[name], _ranks(values), strict=True)
            scores = [(first * second).sum(1) for first, second in pairs]
            found[name] = jnp.stack(scores, 1), _entropy(_flat(values))
        return found

    tops = jnp.asarray([1, -(-count // 2), count])
    compared = run_once(lambda tops: jax.lax.map(compare, tops), tops)
    found = {}
    for name, (correlations, entropies) in compared.items():
        entropy = _entropy(_flat(before[name]))
        rise = (entropies[-1] - entropy) / jnp.where(entropy == 0, jnp.nan, entropy)
        found[name] = Randomization(jnp.moveaxis(correlations, 0, 1), rise)
    return found


def _ranks(values: Array) -> tuple[Float[Array, "b n"], Float[Array, "b n"]]:
    """Of signed values and of their magnitudes, as in `RANDOMIZATION_SCORES`."""
    return unit_ranks(_flat(values)), unit_ranks(_flat(jnp.abs(values)))


def _flat(values: Array) -> Float[Array, "b n"]:
    return values.reshape(values.shape[0], -1)


def _entropy(values: Float[Array, "b n"]) -> Float[Array, " b"]:
    """The entropy of the histogram of each row, between its lowest and its highest value."""
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    width = jnp.where(high == low, 1, high - low)
    places = jnp.minimum((_BINS * (values - low) / width).astype(jnp.int32), _BINS - 1)
    rows = jnp.arange(len(values))[:, None]
    counts = jnp.zeros((len(values), _BINS), jnp.float32).at[rows, places].add(1)
    shares = counts / values.shape[1]
    return -jnp.where(shares > 0, shares * jnp.log(jnp.where(shares > 0, shares, 1)), 0).sum(1)


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    assert batch.explain is not None
    explain_again, target, methods = batch.explain, batch.extrema.target, batch.options.methods

    def explain(variables: Variables) -> dict[str, Array]:
        extrema = explain_again(variables, batch.images, target)
        return {method: claimed_values(method, extrema) for method in methods}

    found = model_randomization(
        explain,
        batch.apply_fn,
        batch.variables,
        batch.images,
        key=jax.random.key(batch.options.control_seed),
    )
    arrays = {
        "randomization": jnp.stack([found[method].correlation for method in methods], 1),
        "entropy_rise": jnp.stack([found[method].entropy_rise for method in methods], 1),
    }
    return NetworkResult(arrays, ~jnp.isnan(arrays["randomization"]).any((1, 2, 3)))


def _arrays(options: Options, _: Sizes) -> Mapping[str, ArraySpec]:
    maps, dimension = len(options.methods), "randomized_map"
    sizes = maps, len(STAGES), len(RANDOMIZATION_SCORES)
    return {
        "randomization": ArraySpec("float32", (dimension, "stage", "randomization_score"), sizes),
        "entropy_rise": ArraySpec("float32", (dimension,), (maps,)),
    }


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {
        "randomized_map": list(options.methods),
        "stage": STAGES,
        "randomization_score": RANDOMIZATION_SCORES,
    }


ENTRY = Entry(
    "randomization",
    arrays=_arrays,
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("randomization",),
    labels=_labels,
)
