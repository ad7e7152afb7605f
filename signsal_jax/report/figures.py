"""Deletion curves, and figures as files."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from signsal_jax import _files
from signsal_jax.report.canvas import AS_WRITTEN, grid

# One color per map, the same in all panels; controls are dashed, in colors of their own. None is
# the text's color, so that it can be seen on a dark background too.
_STYLES = {
    "vanilla": ("#808080", "o-"),
    "positive": ("#d1495b", "o-"),
    "active": ("#edae49", "o-"),
    "negative": ("#00798c", "o-"),
    "inactive": ("#7b6fd0", "o-"),
    "random order": (None, "--"),
    "laplace": ("#8c6d46", ":"),
    "gradient_x_input": ("#2e9e3f", "-."),
    "gradient_x_inverse": ("#2e9e3f", "-."),
}


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure, atomically.

    Args:
      figure: any of matplotlib.
      path: the file; its suffix gives the format: .png, .svg, .pdf and others of matplotlib.

    Returns:
      `path`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from signsal_jax import report
    >>> figure = report.plot_signed([[[1.0, -2.0]]])
    >>> report.save_figure(figure, Path(tempfile.mkdtemp(), "signed.svg")).name
    'signed.svg'
    """
    path = Path(path)
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
        figure.text(0.5, bottom - 0.02, text, **style, **AS_WRITTEN)


def curves_figure(
    summary: dict[str, Any],
    path: Path,
    title: str = "",
    note: str = "",
    curves: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """`plot_curves` as a file, with a title and a note.

    Args:
      summary: from `summarize`.
      path: the file; its suffix gives the format.
      title: above the panels.
      note: as in `maps_figure`.
      curves: as `plot_curves`.
    """
    figure = plot_curves(summary, curves)
    if title:
        figure.suptitle(title, fontsize=10, **AS_WRITTEN)
    # Settled once, since the note is placed below it.
    figure.draw_without_rendering()
    _write_note(figure, note)
    return save_figure(figure, path)


def plot_curves(
    summary: dict[str, Any], curves: Sequence[dict[str, Any]] | None = None, *, axes: Any = None
) -> Figure:
    """Draws fidelity over deleted pixels with 95 % bands, a panel per fill; controls are dashed.

    Args:
      summary: from `summarize`.
      curves: of the summary, those to draw; None for `curves`. Several random orders are drawn as
        their mean.
      axes: one axis per fill to draw into; None for a new figure.

    Returns:
      The figure; the legends give the areas under the curves.

    Raises:
      ValueError: no curves, or another number of axes.

    >>> from signsal_jax import report
    >>> curve = {"fill": "black", "map": "active", "auc": {"mean": 0.4}, "fidelity": [1.0, 0.2]}
    >>> summary = {"fractions": [0.0, 0.5], "images": 10, "curves": [curve]}
    >>> report.plot_curves(summary).axes[0].get_title()
    'black deletion'
    """
    curves = _one_random_order(summary.get("curves", []) if curves is None else curves)
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    fills = list(dict.fromkeys(curve["fill"] for curve in curves))
    figure, panels = grid(axes, 1, len(fills), size=(4.6, 3.8))
    axes = panels[0]
    percent = 100 * np.asarray(summary["fractions"])
    names = list(dict.fromkeys(curve["map"] for curve in curves if curve["map"] not in _STYLES))
    for axis, fill in zip(axes, fills, strict=True):
        for curve in curves:
            if curve["fill"] == fill:
                name, fidelity = curve["map"], np.asarray(curve["fidelity"])
                label = f"{name.replace('_', ' ')} ({curve['auc']['mean']:.3f})"
                color, style = _STYLES.get(name) or (f"C{names.index(name)}", "o-")
                color = color or rcParams["text.color"]
                axis.plot(percent, fidelity, style, ms=3, lw=1.3, color=color, label=label)
                # Of a share; of the mean of random orders it is wider than need be.
                half = 1.96 * np.sqrt(fidelity * (1 - fidelity) / summary["images"])
                band = {"color": color, "alpha": 0.12, "lw": 0}
                axis.fill_between(percent, fidelity - half, fidelity + half, **band)
        axis.set(title=f"{fill} deletion", xlabel="pixels deleted [%]", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, title="map (AUC)", title_fontsize=7)
    axes[0].set_ylabel("fidelity")
    return figure


def _one_random_order(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The curves with the mean of the random orders of each fill in place of the orders."""
    orders: dict[str, list[dict[str, Any]]] = {}
    found = []
    for curve in curves:
        if curve["map"].startswith("random_"):
            orders.setdefault(curve["fill"], []).append(curve)
        else:
            found.append(curve)
    for fill, some in orders.items():
        area = {"mean": float(np.mean([curve["auc"]["mean"] for curve in some]))}
        fidelity = np.mean([curve["fidelity"] for curve in some], 0).tolist()
        found.append({"fill": fill, "map": "random order", "auc": area, "fidelity": fidelity})
    return found
