"""A study in the forms that data analysis takes: an xarray Dataset, and a table of images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from signsal_jax import _checks
from signsal_jax._extras import extra
from signsal_jax.study._store import Store

if TYPE_CHECKING:
    import xarray

# What has one name per class stands along these.
_CLASSES = ("class", "other_class")


def _labels(store: Store, dimension: str) -> list[Any] | None:
    names = store.manifest["names"]
    return names.get("class" if dimension in _CLASSES else dimension)


def to_xarray(store: Store, names: Sequence[str] | None = None) -> "xarray.Dataset":
    """What `Store.to_xarray` returns."""
    xarray = extra("xarray", "bridges")
    arrays, images = store.arrays(), store.available()
    chosen = list(arrays) if names is None else list(names)
    for name in chosen:
        _checks.check_member("names", name, tuple(arrays))
    found = {name: (arrays[name].dimensions, arrays[name][images]) for name in chosen}
    dimensions = {dimension for name in chosen for dimension in arrays[name].dimensions}
    labels = {dimension: _labels(store, dimension) for dimension in sorted(dimensions - {"image"})}
    coordinates = {dimension: each for dimension, each in labels.items() if each is not None}
    constants = store.constants() if names is None else {}
    for name, values in constants.items():
        found[name] = (tuple(store.manifest["constants"][name]["dimensions"]), values)
    attributes = {key: str(value) for key, value in store.manifest["config"].items()}
    return xarray.Dataset(found, {"image": images, **coordinates}, attributes)


def gram_matrices(store: Store, images: Any = slice(None)) -> Float[np.ndarray, "n k k"]:
    """Reads the inner products of the class gradients, in whichever form a study stores them.

    Where a network is much narrower than it has classes, the study stores the Gram matrix G of its
    D features (`feature_gram`) per image, and once the derivatives W of the scores by the features
    (`score_weights`): the Gram matrix of the classes is W G Wᵀ, in float64.

    Args:
      store: from `open_study`.
      images: which images, as `store.arrays()["gram"]` is indexed; each matrix takes K² numbers.

    Returns:
      `[n, k, k]`.

    Raises:
      ValueError: the study stores no Gram matrices.
      StudyError: a chunk that is missing or damaged.
    """
    arrays = store.arrays()
    if "gram" in arrays:
        return arrays["gram"][images]
    if "feature_gram" not in arrays:
        raise ValueError(f'study {store.folder}: expected "gram" among what it stores, got none')
    weights = store.constants()["score_weights"].astype(np.float64)
    return weights @ arrays["feature_gram"][images] @ weights.T


def image_columns(store: Store) -> dict[str, np.ndarray]:
    """The scalars of every committed image, by the name of their column.

    An array with one further dimension gives a column for each place along it, such as
    `logits_cat` or `empty_active`; maps, curves and matrices are no scalars and left out.

    Raises:
      StudyError: a chunk that is missing or damaged.
    """
    images = store.available()
    columns = {"image": images}
    for name, array in store.arrays().items():
        if array.ndim == 1:
            columns[name] = array[images]
        elif array.ndim == 2:
            labels = _labels(store, array.dimensions[1]) or range(array.shape[1])
            values = array[images]
            columns |= {f"{name}_{label}": values[:, at] for at, label in enumerate(labels)}
    return columns
