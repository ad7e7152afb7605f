"""What single figures share: a grid of panels, new or given, and images in them."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Class names are text as it stands; matplotlib would take a $ for the start of a formula.
AS_WRITTEN: Any = {"parse_math": False}


class NotebookFigure(Figure):
    """A figure that a notebook shows as the last line of a cell, also without pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def grid(
    axes: Any, rows: int, columns: int, *, size: tuple[float, float] = (2.0, 2.2)
) -> tuple[Figure, np.ndarray]:
    """The figure and its panels `[rows, columns]`: the axes given, or new ones of so many inches.

    Raises:
      ValueError: another number of axes.
    """
    if axes is None:
        figsize = size[0] * columns, size[1] * rows
        figure = NotebookFigure(figsize=figsize, layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)
    given = np.asarray(axes, dtype=object).ravel()
    if given.size != rows * columns:
        raise ValueError(f"axes: expected {rows * columns}, got {given.size}")
    figure = given[0].figure
    return figure, given.reshape(rows, columns)


def show_image(axis: Axes, image: np.ndarray, *, dimmed: bool = True) -> None:
    """Draws an image `[h, w, c]` in [0, 1], in gray and half as strong if `dimmed`."""
    pixels = np.clip(image[..., 0] if image.shape[-1] == 1 else image, 0, 1)
    if dimmed and pixels.ndim == 3:
        pixels = pixels.mean(-1)
    style: Any = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    axis.imshow(pixels, alpha=0.5 if dimmed else 1.0, **style)


def bare(axis: Axes, title: str = "", note: str = "") -> None:
    """Takes the ticks away, and writes a title above and a note below."""
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9, **AS_WRITTEN)
    axis.set_xlabel(note, fontsize=7, **AS_WRITTEN)
