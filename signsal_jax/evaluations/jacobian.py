"""Entries for the per-image statistics of the input Jacobian, see `signsal_jax.statistics`."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from signsal_jax.evaluations.entry import EXTREMA, LINEAR, ArraySpec, Entry, Explained, Sizes
from signsal_jax.maps import COMPARATIVE_METHODS
from signsal_jax.statistics import BY_CLASS, BY_PAIR, SHARES, pixel_shares, rival_pixels


def _shares(explained: Explained) -> Mapping[str, Array]:
    assert explained.extrema is not None
    return {"shares": pixel_shares(explained.extrema)}


def _rivals(explained: Explained) -> Mapping[str, Array]:
    assert explained.extrema is not None
    return {"rivals": rival_pixels(explained.extrema).astype(jnp.int32)}


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
    mean=("norm",),
)

GRAM = Entry(
    "gram",
    arrays=lambda _, sizes: {"gram": _pairs(sizes)},
    # The Gram matrix also gives the inner products of weighted sums of classes.
    needs=frozenset({LINEAR}),
    of_pair=BY_PAIR["gram"],
)

SIGN_AGREEMENT = Entry(
    "sign_agreement",
    arrays=lambda _, sizes: {"sign_agreement": _pairs(sizes)},
    of_pair=BY_PAIR["sign_agreement"],
)
