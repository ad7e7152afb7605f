"""Strips: an image as more and more of it is deleted, and matrices of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signsal_jax.report.canvas import AS_WRITTEN, bare, grid, show_image
from signsal_jax.report.plots import DIVERGING


def plot_deletion(
    images: Num[np.ndarray, "n h w c"] | Any,
    shares: Sequence[float],
    says: Sequence[str],
    *,
    axes: Any = None,
) -> Figure:
    """Draws an image at each share of deleted pixels, with what the network then says.

    Args:
      images: `[n, h, w, c]` in [0, 1], the image at each share, see `evaluations.perturb`.
      shares: `[n]`, really deleted, in [0, 1].
      says: n texts, such as "cat 0.93".
      axes: n axes to draw into; None for a new figure.

    Raises:
      ValueError: different numbers of images, shares and texts.

    >>> import numpy as np
    >>> from signsal_jax import report
    >>> figure = report.plot_deletion(np.zeros((2, 4, 4, 1)), [0.0, 0.5], ["cat 0.9", "dog 0.6"])
    >>> [axis.get_title() for axis in figure.axes]
    ['0 %', '50 %']
    """
    images = np.asarray(images, np.float64)
    if images.ndim != 4 or not len(images) == len(shares) == len(says):
        raise ValueError(
            "images, shares, says: expected [n, h, w, c] and n of each, got shape "
            f"{images.shape}, {len(shares)} and {len(says)}"
        )
    figure, panels = grid(axes, 1, len(images), size=(1.6, 1.9))
    for axis, image, share, words in zip(panels[0], images, shares, says, strict=True):
        show_image(axis, image, dimmed=False)
        bare(axis, f"{100 * share:.3g} %", words)
    return figure


def plot_classes(
    matrix: Float[np.ndarray, "k k"] | Any,
    class_names: Sequence[str],
    *,
    label: str,
    axes: Axes | None = None,
) -> Figure:
    """Draws a matrix of classes, such as a study's sign agreement or cosines, centered on zero.

    Args:
      matrix: `[k, k]`.
      class_names: k names.
      label: what the numbers are.
      axes: one axis to draw into; None for a new figure.

    Raises:
      ValueError: another shape.

    >>> import numpy as np
    >>> from signsal_jax import report
    >>> figure = report.plot_classes(np.eye(2), ["cat", "dog"], label="cosine")
    >>> figure.axes[0].images[0].get_clim()
    (-1.0, 1.0)
    """
    matrix = np.asarray(matrix, np.float64)
    classes = len(class_names)
    if matrix.shape != (classes, classes):
        raise ValueError(f"matrix: expected shape {(classes, classes)}, got {matrix.shape}")
    side = max(3.5, 0.4 * classes)
    figure, panels = grid(None if axes is None else [axes], 1, 1, size=(side + 1, side))
    axis, end = panels[0, 0], float(np.nanmax(np.abs(matrix), initial=0)) or 1.0
    drawn = axis.imshow(matrix, cmap=DIVERGING, vmin=-end, vmax=end, interpolation="nearest")
    axis.set_xticks(range(classes), class_names, rotation=90, **AS_WRITTEN)
    axis.set_yticks(range(classes), class_names, **AS_WRITTEN)
    figure.colorbar(drawn, ax=axis, label=label)
    return figure
