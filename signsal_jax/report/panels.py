"""The paper's figure and its signs: images and their maps, panel by panel."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from signsal_jax import _files
from signsal_jax.report.examples import Example
from signsal_jax.report.scales import PERCENTILE, scale_end

# In inches.
_PANEL, _PITCH, _TOP, _EDGE, _LINE = 1.5, 1.575, 0.3, 0.1, 0.14
_DPI = 150
_LABEL_WIDTH, _NOTE_WIDTH = 24, 110
# ITU-R 601, as Pillow converts colors to gray.
_LUMA = np.asarray([0.299, 0.587, 0.114])
_GRAY: Any = {"cmap": "gray", "vmin": 0, "vmax": 255}
_HOT = colormaps["hot"]
# Diverging, white at zero, and distinguishable by the color-blind.
_DIVERGING = colormaps["RdBu_r"]
_LEGEND = (
    "Last columns: red where brighter raises the score (favors the class over every other), blue "
    f"where darker does; each panel's scale is the {PERCENTILE}th percentile of its magnitudes."
)
# Class names and notes are text as it stands; matplotlib would take a $ for the start of a formula.
_LABEL_BOX: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.8}
_TEXT: Any = {"ha": "center", "va": "center", "parse_math": False}


def maps_figure(
    examples: Sequence[Example], path: Path, note: str = "", *, over_photo: bool = False
) -> Path:
    """Draws one row per image: the image, its maps in "hot" colors, and its signed maps.

    Signed maps are red where positive, blue where negative and white at zero. Each is scaled by a
    percentile of its own magnitudes, which is written into the panel.

    Everything stands in one coordinate system of inches. A subplot per panel would look the same
    and take several times as long, which counts where thousands of pictures are explained.

    Args:
      examples: the rows; all with the same maps, in the order of the columns, and the same signed
        maps or none.
      path: the file; its suffix gives the format.
      note: what whoever shows the figure must say of its data; the first sentence is written
        under it.
      over_photo: lay the maps over each image, in a second row.

    Returns:
      `path`.
    """
    signed = examples[0].signed or {}
    columns = ("image", *examples[0].maps, *signed)
    layers = (False, True) if over_photo else (False,)
    rows = [(example, over) for example in examples for over in layers]
    labels = [
        textwrap.fill("over the photo" if over else example.title, _LABEL_WIDTH)
        for example, over in rows
    ]
    # The whole note is in results.json.
    notes = [note.partition(". ")[0], _LEGEND if signed else ""]
    under = "\n".join(textwrap.fill(text, _NOTE_WIDTH) for text in notes if text)
    left = _EDGE + _LINE * max(_lines(label) for label in labels)
    bottom = _TOP + _PITCH * len(rows)
    width = left + _PITCH * len(columns) + _EDGE
    height = bottom + _EDGE + _LINE * _lines(under)
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for number, column in enumerate(columns):
        middle = left + _PITCH * number + _PANEL / 2
        axes.text(middle, _TOP / 2, column, fontsize=9, **_TEXT)
    for number, ((example, over), label) in enumerate(zip(rows, labels, strict=True)):
        top = _TOP + _PITCH * number
        middle = top + _PANEL / 2
        axes.text((_EDGE + left) / 2, middle, label, fontsize=8, rotation=90, **_TEXT)
        _draw_row(axes, example, left, top, over_photo=over)
    if under:
        place = bottom + _LINE * _lines(under) / 2
        axes.text(width / 2, place, under, fontsize=7, color="#555555", **_TEXT)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return _files.write_atomically(path, figure.savefig)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _draw_row(axes: Axes, example: Example, left: float, top: float, *, over_photo: bool) -> None:
    """An image and its maps, alone or over the photo in gray."""
    image = example.image[..., 0] if example.image.shape[2] == 1 else example.image
    gray = image if image.ndim == 2 else image @ _LUMA
    height, width = gray.shape
    # The whole image in a square panel, in its own proportions.
    scale = _PANEL / max(height, width)
    left, top = left + (_PANEL - scale * width) / 2, top + (_PANEL - scale * height) / 2
    panels = [gray if over_photo else image]
    for saliency in example.maps.values():
        colors = _HOT(saliency)[..., :3]
        if over_photo:
            # The root, because most of a map is close to zero.
            opacity = np.sqrt(saliency)[..., None]
            colors = opacity * colors + (1 - opacity) * gray[..., None]
        panels.append(colors)
    scales = [scale_end(values) for values in (example.signed or {}).values()]
    for values, most in zip((example.signed or {}).values(), scales, strict=True):
        relative = np.clip(values / most, -1, 1) if most else np.zeros_like(values)
        colors = _DIVERGING((relative + 1) / 2)[..., :3]
        if over_photo:
            opacity = np.sqrt(np.abs(relative))[..., None]
            colors = opacity * colors + (1 - opacity) * gray[..., None]
        panels.append(colors)
    for number, values in enumerate(panels):
        x = left + _PITCH * number
        extent = (x, x + scale * width, top + scale * height, top)
        pixels = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
        axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **_GRAY)
        box = Rectangle((x, top), scale * width, scale * height, fill=False, linewidth=0.8)
        axes.add_patch(box)
        if (place := number - len(panels) + len(scales)) >= 0:
            style: Any = {"ha": "left", "va": "bottom", "fontsize": 6, "bbox": _LABEL_BOX}
            axes.text(x + 0.04, top + scale * height - 0.04, f"±{scales[place]:.2g}", **style)
