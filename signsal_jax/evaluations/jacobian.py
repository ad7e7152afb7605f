"""Entries for the per-image statistics of the input Jacobian, see `signsal_jax.statistics`."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from signsal_jax.evaluations.entry import EXTREMA, LINEAR, ArraySpec, Entry, Explained, Sizes
from signsal_jax.gradients import (
    Cut,
    Factors,
    factor_gram,
    factor_norms,
    factor_sign_agreement,
    feature_gram,
)
from signsal_jax.maps import COMPARATIVE_METHODS
from signsal_jax.statistics import BY_CLASS, BY_PAIR, SHARES, pixel_shares, rival_pixels


def _shares(explained: Explained) -> Mapping[str, Array]:
    assert explained.extrema is not None
    return {"shares": pixel_shares(explained.extrema)}


def _rivals(explained: Explained) -> Mapping[str, Array]:
    assert explained.extrema is not None
    return {"rivals": rival_pixels(explained.extrema).astype(jnp.int32)}


def small_gram(cut: Cut | None) -> int | None:
    """Returns D where the Gram matrix of the D features is stored instead of the K classes'.

    That is where it is smaller, together with the derivatives of the scores by the features, which
    must be the same for all images: they are stored once.
    """
    if cut is None or not cut.affine:
        return None
    return cut.width if cut.width * (cut.width + cut.classes) < cut.classes**2 else None


def _gram_arrays(sizes: Sizes) -> Mapping[str, ArraySpec]:
    if sizes.features is None:
        return {"gram": _pairs(sizes)}
    shape = sizes.features, sizes.features
    return {"feature_gram": ArraySpec("float32", ("feature", "other_feature"), shape)}


def _gram_of_features(factors: Factors) -> Mapping[str, Array]:
    width = small_gram(factors.cut)
    if width is None:
        return {"gram": factor_gram(factors)}
    return {"feature_gram": feature_gram(factors)[:, :width, :width]}


def _pairs(sizes: Sizes) -> ArraySpec:
    return ArraySpec("float32", ("class", "other_class"), (sizes.classes, sizes.classes))


PIXEL_SHARES = Entry(
    "shares",
    arrays=lambda options, sizes: {"shares": ArraySpec("float32", ("share",), (len(SHARES),))},
    needs=frozenset({EXTREMA}),
    of_image=_shares,
    mean=("shares",),
    labels=lambda options: {"share": SHARES},
)

RIVALS = Entry(
    "rivals",
    arrays=lambda _, sizes: {
        "rivals": ArraySpec("int32", ("rivalry", "class"), (2, sizes.classes))
    },
    needs=frozenset({EXTREMA}),
    of_image=_rivals,
    labels=lambda options: {"rivalry": COMPARATIVE_METHODS},
)

NORM = Entry(
    "norm",
    arrays=lambda _, sizes: {"norm": ArraySpec("float32", ("class",), (sizes.classes,))},
    of_class=BY_CLASS["norm"],
    of_features=lambda factors: {"norm": factor_norms(factors)},
    mean=("norm",),
)

GRAM = Entry(
    "gram",
    arrays=lambda _, sizes: _gram_arrays(sizes),
    # The Gram matrix also gives the inner products of weighted sums of classes.
    needs=frozenset({LINEAR}),
    of_pair=BY_PAIR["gram"],
    of_features=_gram_of_features,
)

SIGN_AGREEMENT = Entry(
    "sign_agreement",
    arrays=lambda _, sizes: {"sign_agreement": _pairs(sizes)},
    of_pair=BY_PAIR["sign_agreement"],
    of_features=lambda factors: {"sign_agreement": factor_sign_agreement(factors)},
)
