"""Per-image statistics of the input Jacobian, streamed over classes; it is never stored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from signsal_jax import _checks, _image_checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Logits, Variables
from signsal_jax.gradients import (
    Estimator,
    Pullback,
    choose_cut,
    compute_factors,
    factor_gram,
    factor_norms,
    factor_sign_agreement,
    group_size,
    in_groups,
    linearize,
    plain,
    require_linear,
    same_class_gradients,
)
from signsal_jax.maps import COMPARATIVE_METHODS, kept_gradient, runner_up
from signsal_jax.sharding import BY_IMAGE, own_classes, spread_over_classes

SHARES = ("positive", "negative", "active", "inactive")

ClassRows = Float[Array, "_ b h w c"]


def _products(first: ClassRows, second: ClassRows) -> Float[Array, "b m n"]:
    return jnp.einsum("mbhwc,nbhwc->bmn", first, second, precision=jax.lax.Precision.HIGHEST)


def _norms(rows: ClassRows) -> Float[Array, "b m"]:
    return jnp.sqrt(jnp.square(rows).sum((2, 3, 4))).T


def _sign_products(rows: ClassRows, others: ClassRows) -> Float[Array, "b m n"]:
    # Sums of -1, 0 and 1: exact in float32 up to 2^24 entries, in any order.
    return _products(jnp.sign(rows), jnp.sign(others)) / rows[0, 0].size


BY_CLASS = {"norm": _norms}
BY_PAIR = {"gram": _products, "sign_agreement": _sign_products}
STATISTICS = (*BY_CLASS, *BY_PAIR)
BY_FACTORS = {
    "norm": factor_norms,
    "gram": factor_gram,
    "sign_agreement": factor_sign_agreement,
}


def row_statistics(
    rows: ClassRows,
    pullback: Pullback,
    logits: Logits,
    by_class: Mapping[str, Callable[[ClassRows], Array]],
    by_pair: Mapping[str, Callable[[ClassRows, ClassRows], Array]],
) -> dict[str, Float[Array, "b m *k"]]:
    """Computes statistics of each class of a chunk, and of its pairs with all classes.

    For the pairs, all classes are pulled back again, one chunk at a time, unless the rows already
    hold them all: so at most two chunks of class gradients exist at a time.

    Args:
      rows: the gradients of a chunk of this device's `own_classes`.
      pullback: from `linearize`, like `logits`.
      by_class: by name, a function of the rows that returns `[b, m]`.
      by_pair: by name, a function of the rows and `n` other rows that returns `[b, m, n]`.
    """
    num_classes = logits.shape[1]

    def block(others: Array) -> dict[str, Array]:
        return {name: function(rows, others) for name, function in by_pair.items()}

    found = {name: function(rows) for name, function in by_class.items()}
    if by_pair and len(rows) == num_classes:
        found |= block(rows)
    elif by_pair:
        columns = jnp.arange(-(-num_classes // len(rows)) * len(rows)).reshape(-1, len(rows))
        blocks = jax.lax.map(
            lambda classes: block(same_class_gradients(pullback, classes, logits)), columns
        )
        found |= {
            name: jnp.moveaxis(values, 0, 2).reshape(*values.shape[1:3], -1)[..., :num_classes]
            for name, values in blocks.items()
        }
    return found


def collect_rows(
    chunks: Float[Array, "n b m *k"], num_classes: int, class_chunk: int | None
) -> Float[Array, "b classes *k"]:
    """Inside `shard_map`: puts the rows of all devices in class order; only rows are exchanged.

    Args:
      chunks: one array of `row_statistics` for each chunk of `own_classes`, stacked.
    """
    mine = own_classes(num_classes, class_chunk)
    rows = jnp.moveaxis(chunks, 0, 1)
    rows = rows.reshape(rows.shape[0], mine.size, *rows.shape[3:])
    empty = jnp.zeros_like(rows, shape=(len(rows), num_classes, *rows.shape[2:]))
    # Padding has the index num_classes, which is out of range and dropped.
    placed = empty.at[:, mine.reshape(-1)].add(rows, mode="drop")
    return jax.lax.psum(placed, "class")


def jacobian_statistics(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    mesh: Mesh,
    statistics: Sequence[str] = STATISTICS,
    class_chunk: int | None = None,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
    through: str = "auto",
) -> dict[str, Float[Array, " b *k"]]:
    """Computes norms of the class gradients and the similarity of each pair, per image.

    Pure: wrap it in `jax.jit`. One forward pass and k pullbacks; pairwise statistics take k more
    for each chunk of classes, unless one chunk holds all. Through the features, a pullback for
    each: the Gram matrix is then that of the features between the scores' derivatives, W G Wᵀ.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1]; b must be a multiple of the mesh's `data`.
      mesh: from `sharding.make_mesh`.
      statistics: any of `STATISTICS`.
      class_chunk: classes (or features) pulled back at a time on each device; None for all that it
        has.
      precision: of float32 products, see `signed_jacobian`.
      estimator: the gradient method, see `signed_jacobian`.
      through: "auto", "scores" or "features", see `class_extrema`.

    Returns:
      By name: "norm" `[b, k]`, the l2 norm of each class's gradient; "gram" `[b, k, k]`, the
      inner products of the classes' gradients; "sign_agreement" `[b, k, k]` in [-1, 1], the
      mean over pixels and channels of the product of the two signs.

    Raises:
      TypeError, ValueError: as `signed_jacobian`; an unknown or repeated statistic; "gram" of an
        estimator that is not linear.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import sharding, statistics
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> mesh = sharding.make_mesh(jax.devices()[:1])
    >>> weights, images = jnp.asarray([[3.0, -1.0]]), jnp.ones((1, 2, 2, 1))
    >>> found = statistics.jacobian_statistics(apply_fn, weights, images, mesh=mesh)
    >>> found["norm"].tolist(), found["gram"][0, 0].tolist(), found["sign_agreement"][0].tolist()
    ([[6.0, 2.0]], [36.0, -12.0], [[1.0, -1.0], [-1.0, 1.0]])
    """
    _checks.check_class_chunk(class_chunk)
    _image_checks.check_image_batch(images)
    _checks.check_mesh(mesh)
    names = _checks.check_methods(statistics, STATISTICS, "statistics")
    if "gram" in names:
        # The Gram matrix also gives the inner products of weighted sums of classes.
        require_linear(estimator, "gram")

    def local(variables: Any, images: Array) -> dict[str, Array]:
        images = spread_over_classes(images)
        settings: dict[str, Any] = {"estimator": estimator, "precision": precision}
        devices = mesh.shape["class"]
        cut = choose_cut(
            through,
            apply_fn,
            variables,
            images,
            rivals="all",
            output="logits",
            estimator=estimator,
            devices=devices,
        )
        if cut is not None:
            settings |= {"class_chunk": class_chunk, "axis": "class"}

            def of_group(images: Array) -> dict[str, Array]:
                factors = compute_factors(apply_fn, variables, images, cut, **settings)
                return {name: BY_FACTORS[name](factors) for name in names}

            return in_groups(of_group, group_size(cut, images, estimator, devices), images)
        logits, pullback = linearize(apply_fn, variables, images, **settings)
        num_classes = logits.shape[1]
        by_class = {name: BY_CLASS[name] for name in names if name in BY_CLASS}
        by_pair = {name: BY_PAIR[name] for name in names if name in BY_PAIR}
        chunks = jax.lax.map(
            lambda classes: row_statistics(
                same_class_gradients(pullback, classes, logits), pullback, logits, by_class, by_pair
            ),
            own_classes(num_classes, class_chunk),
        )
        return {
            name: collect_rows(values, num_classes, class_chunk) for name, values in chunks.items()
        }

    return jax.shard_map(
        local, mesh=mesh, in_specs=(PartitionSpec(), BY_IMAGE), out_specs=BY_IMAGE
    )(variables, jnp.asarray(images))


def pixel_shares(extrema: ClassExtrema) -> Float[Array, "b 4"]:
    """Returns, for each of `SHARES`, the share of pixels where it keeps a channel, in [0, 1].

    Args:
      extrema: from `class_extrema`.

    Returns:
      `[b, 4]`, in the order of `SHARES`.

    Reference: arXiv 2309.12913, the definitions of the maps.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax import statistics
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[2.0, 1.0], [-1.0, 0.5]]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 2, 1)), target=0)
    >>> statistics.pixel_shares(extrema).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    gradients = (extrema.gradient, extrema.highest, extrema.lowest)
    kept = [(kept_gradient(method, *gradients) != 0).any(-1) for method in SHARES]
    return jnp.stack([pixels.mean((1, 2), dtype=jnp.float32) for pixels in kept], axis=1)


def rival_pixels(extrema: ClassExtrema) -> Float[Array, "b 2 k"]:
    """Counts, per class, the active and inactive pixels where it is the closest other class.

    Args:
      extrema: from `class_extrema`.

    Returns:
      `[b, 2, k]`, counts of active pixels first, of inactive ones second; 0 for the target itself.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax import statistics
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0, 1.5]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 1, 1)))
    >>> statistics.rival_pixels(extrema).tolist()
    [[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    """
    batch, num_classes = extrema.logits.shape
    counts = []
    for method in COMPARATIVE_METHODS:
        margin, rival = (values.reshape(batch, -1) for values in runner_up(method, extrema))
        rows = jnp.arange(batch)[:, None]
        zero = jnp.zeros((batch, num_classes), jnp.float32)
        counts.append(zero.at[rows, rival].add((margin > 0).astype(jnp.float32), mode="drop"))
    return jnp.stack(counts, axis=1)
