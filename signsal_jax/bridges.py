"""Results in the forms that other tools take: Quantus, captum, xarray and ViRelAy.

Those tools put channels first. Only the functions that make a tool's own objects import it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from signsal_jax import _files
from signsal_jax._extras import extra
from signsal_jax.maps import Saliency

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]
    import xarray


def channels_first(values: Any) -> np.ndarray:
    """Turns maps `[b, h, w]` or attributions `[b, h, w, c]` into `[b, 1 or c, h, w]`.

    Raises:
      ValueError: another number of axes.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import bridges
    >>> bridges.channels_first(jnp.ones((5, 32, 24, 3))).shape
    (5, 3, 32, 24)
    """
    array = np.asarray(values)
    if array.ndim not in (3, 4):
        raise ValueError(
            f"values: expected maps [b, h, w] or attributions [b, h, w, c], got {array.shape}"
        )
    array = array[..., None] if array.ndim == 3 else array
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def to_quantus(saliency: Saliency, images: Any, method: str) -> dict[str, np.ndarray]:
    """Returns the three batches that a metric of Quantus is called with.

    Args:
      saliency: from `saliency_maps`; images that are not valid are left out.
      images: `[b, h, w, c]`, those that were explained.
      method: which of the maps.

    Returns:
      "x_batch" `[n, c, h, w]`, "y_batch" `[n]` the classes explained, and "a_batch" `[n, 1, h, w]`
      (or `[n, c, h, w]` with `channel="none"`); pass them on with a model that takes channels
      first: `metric(model=model, **batches)`.

    Raises:
      ValueError: a method that the result does not have, another number of images.

    Reference: Hedström et al., arXiv 2202.06861.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax import bridges
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> images = jnp.ones((2, 4, 4, 1))
    >>> saliency = signsal_jax.saliency_maps(apply_fn, jnp.asarray([[2.0, -1.0]]), images)
    >>> bridges.to_quantus(saliency, images, "active")["a_batch"].shape
    (2, 1, 4, 4)
    """
    if method not in saliency.maps:
        raise ValueError(f"method: expected one of {', '.join(saliency.maps)}, got {method!r}")
    pixels, maps, valid = channels_first(images), saliency.maps[method], np.asarray(saliency.valid)
    if len(pixels) != len(valid):
        raise ValueError(f"images: expected {len(valid)} as in the result, got {len(pixels)}")
    return {
        "x_batch": pixels[valid],
        "y_batch": np.asarray(saliency.target)[valid],
        "a_batch": channels_first(maps)[valid],
    }


def to_torch(values: Any) -> "torch.Tensor":
    """Returns attributions as captum does: a torch tensor shaped like its inputs `[b, c, h, w]`.

    Args:
      values: attributions `[b, h, w, c]`, or maps `[b, h, w]`, which get one channel.

    Raises:
      ImportError: torch is not installed. ValueError: another number of axes.
    """
    torch = extra("torch", "bench")
    return torch.from_numpy(channels_first(values).copy())


def to_xarray(saliency: Saliency, class_names: Sequence[str] | None = None) -> "xarray.Dataset":
    """Returns a result as one xarray Dataset.

    Args:
      saliency: from `saliency_maps`.
      class_names: labels of the axis `class`; the indices where there are none.

    Returns:
      A Dataset with `logits` (image, class), `target` and `valid` (image), `map` and `empty` over
      `kind` (xarray reserves the word method), and `margin` and `runner_up` over `compared`, the
      methods that have them. Axes of maps are image, row, column, and channel with
      `channel="none"`.

    Raises:
      ImportError: xarray is not installed. ValueError: another number of class names.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax import bridges
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((2, 4, 4, 1))
    >>> saliency = signsal_jax.saliency_maps(apply_fn, weights, images)
    >>> data = bridges.to_xarray(saliency, ["cat", "dog"])
    >>> data["map"].sel(kind="active").dims, float(data["logits"].sel({"class": "dog"})[0])
    (('image', 'row', 'column'), -16.0)
    """
    xarray = extra("xarray", "bridges")
    logits = np.asarray(saliency.logits)
    names = list(range(logits.shape[1])) if class_names is None else list(class_names)
    if len(names) != logits.shape[1]:
        raise ValueError(f"class_names: expected {logits.shape[1]}, got {len(names)}")
    axes = ("image", "row", "column", "channel")

    def stacked(values: Mapping[str, Any], axis: str) -> tuple[tuple[str, ...], np.ndarray]:
        array = np.stack([np.asarray(one) for one in values.values()])
        return (axis, *axes[: array.ndim - 1]), array

    variables: dict[str, Any] = {
        "logits": (("image", "class"), logits),
        "target": ("image", np.asarray(saliency.target)),
        "valid": ("image", np.asarray(saliency.valid)),
        "map": stacked(saliency.maps, "kind"),
        "empty": stacked(saliency.empty, "kind"),
    }
    coordinates: dict[str, Any] = {"class": names, "kind": list(saliency.maps)}
    if saliency.margin:
        variables["margin"] = stacked(saliency.margin, "compared")
        variables["runner_up"] = stacked(saliency.runner_up, "compared")
        coordinates["compared"] = list(saliency.margin)
    return xarray.Dataset(variables, coordinates)


def write_virelay(
    path: Path | str,
    attributions: Any,
    logits: Any,
    target: Any,
    index: Any = None,
) -> Path:
    """Writes attributions as an HDF5 file that ViRelAy shows and CoRelAy analyses.

    Args:
      path: the file; its name ends in .h5. It is complete or absent, whatever happens.
      attributions: `[n, h, w, c]`, or maps `[n, h, w]`, of one class per image.
      logits: `[n, k]`.
      target: `[n]`, the class explained.
      index: `[n]`, the place of each image in the data set; 0 to n - 1 by default.

    Returns:
      The path. The datasets are `attribution` `[n, c, h, w]`, `prediction` `[n, k]` (the logits),
      `label` `[n, k]` (one for the class explained) and `index` `[n]`.

    Raises:
      ImportError: h5py is not installed. ValueError: numbers of images that differ. OSError.

    Reference: Anders et al., arXiv 2106.13200, section 4; the layout is that of ViRelAy's
    documentation (docs/examples/hdf5_structure.py).
    """
    logits = np.asarray(logits, np.float32)
    index = np.arange(len(logits)) if index is None else np.asarray(index)
    target = np.asarray(target)
    arrays = {
        "attribution": channels_first(attributions).astype(np.float32),
        "prediction": logits,
        "label": np.eye(logits.shape[1], dtype=np.float32)[target],
        "index": index.astype(np.uint32),
    }
    return _write_hdf5(path, arrays)


def write_virelay_images(path: Path | str, images: Any, labels: Any) -> Path:
    """Writes the images beside which ViRelAy shows attributions.

    Args:
      path: as for `write_virelay`.
      images: `[n, h, w, c]` in [0, 1], in the order that the attributions' `index` counts.
      labels: `[n]`, the true classes.

    Returns:
      The path. The datasets are `data` `[n, c, h, w]` and `label` `[n]`.

    Raises:
      As `write_virelay`.
    """
    arrays = {"data": channels_first(images).astype(np.float32), "label": np.asarray(labels)}
    return _write_hdf5(path, arrays)


def _write_hdf5(path: Path | str, arrays: Mapping[str, np.ndarray]) -> Path:
    h5py = extra("h5py", "bridges")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"expected as many of each, got {lengths}")

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return _files.write_atomically(Path(path), write)
