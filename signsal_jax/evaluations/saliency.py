"""Entries for the logits, the maps, and the closest other class per pixel, stored unchanged."""

from collections.abc import Mapping

from jax import Array

from signsal_jax.evaluations.entry import MAPS, ArraySpec, Entry, Explained, Options, Sizes
from signsal_jax.maps import COMPARATIVE_METHODS


def _pixels(dtype: str, sizes: Sizes) -> ArraySpec:
    return ArraySpec(dtype, ("height", "width"), (sizes.height, sizes.width))


def _comparative(options: Options) -> list[str]:
    return [method for method in options.methods if method in COMPARATIVE_METHODS]


def _maps(explained: Explained) -> Mapping[str, Array]:
    assert explained.saliency is not None
    return {
        f"map_{method}": values.astype(explained.options.storage)
        for method, values in explained.saliency.maps.items()
    }


def _runner_up(explained: Explained) -> Mapping[str, Array]:
    assert explained.saliency is not None
    rivals = explained.saliency.runner_up
    return {f"runner_up_{method}": rivals[method] for method in _comparative(explained.options)}


LOGITS = Entry(
    "logits",
    arrays=lambda _, sizes: {"logits": ArraySpec("float32", ("class",), (sizes.classes,))},
    of_image=lambda explained: {"logits": explained.logits},
)

MAP = Entry(
    "maps",
    arrays=lambda options, sizes: {
        f"map_{method}": _pixels(options.storage, sizes) for method in options.methods
    },
    needs=frozenset({MAPS}),
    of_image=_maps,
)

RUNNER_UP = Entry(
    "runner_up",
    arrays=lambda options, sizes: {
        f"runner_up_{method}": _pixels("int32", sizes) for method in _comparative(options)
    },
    needs=frozenset({MAPS}),
    of_image=_runner_up,
)
