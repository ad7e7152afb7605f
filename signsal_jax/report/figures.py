"""The paper's figures: maps of example images, and deletion curves."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from signsal_jax import _files
from signsal_jax.evaluation import Example
from signsal_jax.maps import METHODS

# One colour a map, the same in both panels.
_COLORS = {
    "vanilla": "#555555",
    "positive": "#d1495b",
    "active": "#edae49",
    "negative": "#00798c",
    "inactive": "#30638e",
}

_PIXELS: Any = {"interpolation": "nearest"}
# Class names and notes are text as it stands; matplotlib would take a $ for the start of a formula.
_AS_WRITTEN: Any = {"parse_math": False}
# ITU-R 601, as Pillow converts colours to gray.
_LUMA = np.asarray([0.299, 0.587, 0.114])


def _save(figure: Figure, path: Path) -> Path:
    return _files.write_atomically(
        path, lambda temporary: figure.savefig(temporary, dpi=150, bbox_inches="tight")
    )


def _write_note(figure: Figure, note: str) -> None:
    if note:
        # The whole note is in results.json.
        first, _, _ = note.partition(". ")
        text = textwrap.fill(first, 90)
        boxes = [axis.get_tightbbox() for axis in figure.axes]
        bottom = min(box.y0 for box in boxes if box is not None) / figure.bbox.height
        style: Any = {"ha": "center", "va": "top", "fontsize": 7, "color": "#555555"}
        figure.text(0.5, bottom - 0.02, text, **style, **_AS_WRITTEN)


def _draw(row: Any, example: Example, *, over_photo: bool) -> None:
    """An image and its five maps, alone or over the photo in gray."""
    image = example.image[..., 0] if example.image.shape[2] == 1 else example.image
    gray = image if image.ndim == 2 else image @ _LUMA
    row[0].imshow(gray if over_photo else image, cmap="gray", vmin=0, vmax=1, **_PIXELS)
    label = "over the photo" if over_photo else example.title
    row[0].set_ylabel(label, fontsize=8, **_AS_WRITTEN)
    for axis, method in zip(row[1:], METHODS, strict=True):
        saliency, alpha = example.maps[method], None
        if over_photo:
            axis.imshow(gray, cmap="gray", vmin=0, vmax=1, **_PIXELS)
            # The root, because most of a map is close to zero.
            alpha = np.sqrt(saliency)
        axis.imshow(saliency, cmap="hot", vmin=0, vmax=1, alpha=alpha, **_PIXELS)
    for axis in row:
        axis.set(xticks=[], yticks=[])


def maps_figure(
    examples: Sequence[Example], path: Path, note: str = "", *, over_photo: bool = False
) -> Path:
    """The paper's figure: one row an image; columns image and the five maps ("hot" colours).

    With `over_photo` a second row an image lays the maps over it. A note is written under the
    figure: what whoever shows it must say of its data.
    """
    columns = ("image", *METHODS)
    layers = (False, True) if over_photo else (False,)
    rows = [(example, over) for example in examples for over in layers]
    figure = Figure(figsize=(1.5 * len(columns), 1.55 * len(rows) + 0.3))
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, (example, over) in zip(axes, rows, strict=True):
        _draw(row, example, over_photo=over)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=9)
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    _write_note(figure, note)
    return _save(figure, path)


def curves_figure(summary: dict[str, Any], path: Path, title: str = "", note: str = "") -> Path:
    """Fidelity over deleted pixels, one panel a fill; a note as in `maps_figure`."""
    fills = list(dict.fromkeys(curve["fill"] for curve in summary["curves"]))
    figure = Figure(figsize=(4.6 * len(fills), 3.6))
    axes = figure.subplots(1, len(fills), sharey=True, squeeze=False)[0]
    percent = 100 * np.asarray(summary["fractions"])
    for axis, fill in zip(axes, fills, strict=True):
        for curve in summary["curves"]:
            if curve["fill"] == fill:
                label = f"{curve['map']} (AUC {curve['auc']['mean']:.3f})"
                color = _COLORS[curve["map"]]
                axis.plot(percent, curve["fidelity"], "o-", ms=3, color=color, label=label)
        axis.set(title=f"{fill} deletion", xlabel="pixels deleted [%]", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("fidelity")
    if title:
        figure.suptitle(title, fontsize=10, **_AS_WRITTEN)
    figure.tight_layout()
    _write_note(figure, note)
    return _save(figure, path)
