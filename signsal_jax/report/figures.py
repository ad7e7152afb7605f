"""Deletion curves."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from signsal_jax import _files

# One color per map, the same in both panels.
_COLORS = {
    "vanilla": "#555555",
    "positive": "#d1495b",
    "active": "#edae49",
    "negative": "#00798c",
    "inactive": "#30638e",
}

# Class names and notes are text as it stands; matplotlib would take a $ for the start of a formula.
_AS_WRITTEN: Any = {"parse_math": False}


def save_figure(figure: Figure, path: Path) -> Path:
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
                color = _COLORS.get(curve["map"], f"C{len(axis.lines)}")
                axis.plot(percent, curve["fidelity"], "o-", ms=3, color=color, label=label)
        axis.set(title=f"{fill} deletion", xlabel="pixels deleted [%]", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("fidelity")
    if title:
        figure.suptitle(title, fontsize=10, **_AS_WRITTEN)
    figure.tight_layout()
    _write_note(figure, note)
    return save_figure(figure, path)
