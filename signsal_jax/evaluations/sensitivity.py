"""Max-sensitivity: how much a map changes when the image hardly does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import Images
from signsal_jax._vma import varying_like
from signsal_jax.evaluations.claims import claimed_values
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    Classified,
    Entry,
    NetworkResult,
    Options,
    labelled,
)
from signsal_jax.scaling import reduce_channels

RADIUS = 0.02
SAMPLES = 4


def max_sensitivity(
    explain: Callable[[Array], Mapping[str, Float[Array, "b h w c"]]],
    images: Images,
    *,
    key: Array,
    radius: float = RADIUS,
    samples: int = SAMPLES,
) -> dict[str, Float[Array, " b"]]:
    """Explains images with a little noise; returns the largest relative change of each map.

    Cost: the explanation of a batch, once and for each sample.

    Args:
      explain: from images to signed values by name, `[b, h, w, c]`, such as `claimed_values` for
        the class that the untouched image is explained for.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      key: of the noise, which is the same for all images.
      radius: the noise is uniform in [-radius, radius]; above 0.
      samples: how many perturbed images, at least 1.

    Returns:
      By name `[b]`: the largest l2 norm of the change, divided by the norm of the map itself; 0
      where both are zero. About 1.41 for a map of new random numbers each time.

    Raises:
      TypeError, ValueError: images of the wrong rank or type, a radius not above 0, fewer than one
        sample.

    Reference: Yeh et al., NeurIPS 2019, arXiv 1901.09392, definition 3.1; divided by the norm as in
    captum. The maximum over samples is a lower bound of the maximum over the ball.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax.evaluations import max_sensitivity
    >>> found = max_sensitivity(lambda images: {"constant": jnp.ones_like(images)},
    ...     jnp.ones((1, 2, 2, 1)), key=jax.random.key(0))
    >>> found["constant"].tolist()
    [0.0]
    """
    _image_checks.check_image_batch(images)
    _checks.check_key("key", key)
    radius = _checks.check_real("radius", radius)
    if not radius > 0:
        raise ValueError(f"radius: expected above 0, got {radius}")
    samples = _checks.check_integer("samples", samples, least=1)
    images = jnp.asarray(images)
    before = dict(explain(images))

    def sampled(largest: dict, key: Array) -> tuple[dict, None]:
        noise = jax.random.uniform(
            key, (1, *images.shape[1:]), images.dtype, minval=-radius, maxval=radius
        )
        after = explain(images + noise)
        change = {name: _norm(after[name] - values) for name, values in before.items()}
        return jax.tree.map(jnp.maximum, largest, change), None

    def over_samples(keys: Array) -> dict:
        start = {name: 0 * varying_like(_norm(values), images) for name, values in before.items()}
        return jax.lax.scan(sampled, start, keys)[0]

    largest = run_once(over_samples, jax.random.split(key, samples))
    return {
        name: jnp.where(largest[name] == 0, 0, largest[name] / _norm(values))
        for name, values in before.items()
    }


def _norm(values: Array) -> Float[Array, " b"]:
    """The l2 norm of each image's values; small gradients don't underflow when squared."""
    return reduce_channels(values.reshape(len(values), 1, 1, -1), "l2")[:, 0, 0]


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    assert batch.explain is not None
    explain_again, target, methods = batch.explain, batch.extrema.target, batch.options.methods

    def explain(images: Array) -> dict[str, Array]:
        extrema = explain_again(batch.variables, images, target)
        return {method: claimed_values(method, extrema) for method in methods}

    found = max_sensitivity(explain, batch.images, key=jax.random.key(batch.options.control_seed))
    values = jnp.stack([found[method] for method in methods], 1)
    # A map of zeros that does not stay one changes infinitely; no mean survives that.
    values = jnp.where(jnp.isinf(values), jnp.nan, values)
    return NetworkResult({"sensitivity": values}, jnp.ones(len(target), bool))


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {"sensitivity_map": list(options.methods)}


ENTRY = Entry(
    "sensitivity",
    arrays=labelled("sensitivity", _labels),
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    labels=_labels,
)
