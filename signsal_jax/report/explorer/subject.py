"""What the explorer shows of an image: the gradients of its classes, its maps, its deletion."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from signsal_jax import _files

MOST_IMAGES, MOST_CLASSES = 20, 20
BLUR = "blur"
"""The fill that is the blurred image, see `evaluations.blur`."""


class Deleted(NamedTuple):
    """What a network says of an image as its most salient pixels are deleted.

    Attributes:
      methods, fills, fractions: what the axes below stand for.
      first: `[method, h, w]`, the place of the first fraction at which a pixel is deleted;
        `len(fractions)` where it never is.
      probabilities: `[method, fill, fraction, m]`, of the classes that are shown.
      predicted: `[method, fill, fraction]`, the index of the class with the highest score.
    """

    methods: tuple[str, ...]
    fills: tuple[str, ...]
    fractions: Float[np.ndarray, " f"]
    first: UInt8[np.ndarray, "n h w"]
    probabilities: Float[np.ndarray, "n fills f m"]
    predicted: Int[np.ndarray, "n fills f"]


class Steps(NamedTuple):
    """What small steps change of the scores of the explained class.

    Attributes:
      methods, epsilons: what the axes below stand for.
      change: `[method, way, epsilon, score]`, see `evaluations.SmallStep`.
      moved: `[method]`, the share of pixels that are moved.
    """

    methods: tuple[str, ...]
    epsilons: tuple[float, ...]
    change: Float[np.ndarray, "n w e s"]
    moved: Float[np.ndarray, " n"]


class ClassGradients(NamedTuple):
    """The part of what the explorer shows that needs the network.

    Attributes:
      image: `[h, w, c]`, pixels in [0, 1].
      names: of all classes of the network.
      logits: of all classes.
      target: the index of the class that the maps explain.
      classes: the indices of the classes shown, by descending score.
      gradients: `[m, h, w]`, of the scores of these classes, summed over channels: the change of
        the score as the pixel gets brighter, in score units per unit of pixel value.
      deleted: the deletion; None if it was not computed.
    """

    image: Float[np.ndarray, "h w c"]
    names: tuple[str, ...]
    logits: Float[np.ndarray, " k"]
    target: int
    classes: Int[np.ndarray, " m"]
    gradients: Float[np.ndarray, "m h w"]
    deleted: Deleted | None = None


class View(NamedTuple):
    """What one estimator says of an image.

    Attributes:
      gradients, deleted: see `ClassGradients`.
      maps: by name `[h, w]`, in [0, 1].
      signed: by name `[h, w]`, see `brightness.brightness_maps`; none without a sign.
      steps: small steps; None where they were not evaluated.
    """

    gradients: Float[np.ndarray, "m h w"]
    maps: Mapping[str, np.ndarray]
    signed: Mapping[str, np.ndarray]
    deleted: Deleted | None = None
    steps: Steps | None = None


class Subject(NamedTuple):
    """An image of the explorer.

    Attributes:
      title: shown with the image.
      image: `[h, w, c]`, pixels in [0, 1].
      classes: the indices of the classes shown.
      names: of all classes of the network.
      logits: of all classes.
      target: the index of the class that the maps explain, one of `classes`.
      views: by the estimator's name.
      label: the index of the true class, if it is known.
    """

    title: str
    image: Float[np.ndarray, "h w c"]
    classes: Int[np.ndarray, " m"]
    names: tuple[str, ...]
    logits: Float[np.ndarray, " k"]
    target: int
    views: Mapping[str, View]
    label: int | None = None


def subject(
    title: str,
    found: ClassGradients,
    estimator: str,
    maps: Mapping[str, np.ndarray],
    signed: Mapping[str, np.ndarray],
    label: int | None = None,
    steps: Steps | None = None,
) -> Subject:
    """The image of class gradients, with its maps by one estimator."""
    view = View(found.gradients, maps, signed, found.deleted, steps)
    return Subject(
        title,
        found.image,
        found.classes,
        found.names,
        found.logits,
        found.target,
        {estimator: view},
        label,
    )


def shown_classes(logits: Float[np.ndarray, " k"], target: int) -> Int[np.ndarray, " m"]:
    """The indices of the classes with the highest scores, by descending score, and the target's.

    >>> import numpy as np
    >>> from signsal_jax.report import explorer
    >>> explorer.shown_classes(np.asarray([0.0, 2.0, 1.0]), target=0).tolist()
    [1, 2, 0]
    """
    order = np.argsort(-logits, kind="stable")
    shown = order[:MOST_CLASSES]
    if target not in shown:
        shown = np.append(shown[:-1], target)
    return shown.astype(np.int32)


def to_arrays(found: ClassGradients) -> dict[str, Any]:
    """What `np.savez` takes."""
    arrays = {name: value for name, value in found._asdict().items() if name != "deleted"}
    if found.deleted is not None:
        arrays |= {f"deleted {name}": value for name, value in found.deleted._asdict().items()}
    return arrays


def from_arrays(arrays: Mapping[str, Any]) -> ClassGradients:
    """The inverse of `to_arrays`."""
    deleted = None
    if "deleted first" in arrays:
        values = {name: arrays[f"deleted {name}"] for name in Deleted._fields}
        for name in ("methods", "fills"):
            values[name] = tuple(values[name].tolist())
        deleted = Deleted(**values)
    return ClassGradients(
        arrays["image"],
        tuple(arrays["names"].tolist()),
        arrays["logits"],
        int(arrays["target"]),
        arrays["classes"],
        arrays["gradients"],
        deleted,
    )


def save(path: Path, found: ClassGradients) -> Path:
    """Writes class gradients as an NPZ file, atomically."""
    arrays = to_arrays(found)
    return _files.write_atomically(
        path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays)
    )


def load(path: Path) -> ClassGradients:
    """Reads what `save` wrote.

    Raises:
      ValueError: a file of something else.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return from_arrays(arrays)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path}: expected class gradients of signsal: {error}") from error
