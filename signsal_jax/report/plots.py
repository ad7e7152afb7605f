"""Single figures for notebooks and papers: each returns a matplotlib `Figure`, or draws into axes.

Signed values are red and blue, white at zero, which the color-blind tell apart. What a figure does
to its numbers, a percentile that ends the scale or a smoothing, is written into it. Text and
backgrounds follow matplotlib's style, so that dark ones work.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from signsal_jax.report.canvas import AS_WRITTEN, bare, grid, show_image
from signsal_jax.report.scales import scale_end
from signsal_jax.report.treatment import check_treatment, smoothed, treatment

DIVERGING = "RdBu_r"
_MOST_IN_A_ROW = 10
# Okabe and Ito's colors, told apart by the color-blind; gray for all other classes.
_CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
_OTHERS, _NOBODY = "#999999", "#ffffff"


def plot_signed(
    values: Num[np.ndarray, "n h w"] | Any,
    *,
    images: Num[np.ndarray, "n h w c"] | Any = None,
    titles: Sequence[str] = (),
    percentile: float = 100.0,
    smoothing: float = 0.0,
    shared_scale: bool = False,
    axes: Any = None,
) -> Figure:
    """Draws signed maps: red where positive, blue where negative, white at zero.

    Args:
      values: `[n, h, w]`, such as a map of `brightness_maps`, or `jacobian[0].sum(-1)` for every
        class of an image.
      images: `[n, h, w, c]` in [0, 1], drawn dimmed under the maps; None for the maps alone.
      titles: of each map, such as class names.
      percentile: of the magnitudes; what is above it gets the color at the end. 100: nothing is
        clipped. At 224x224, where few pixels are large, 99.5 shows the others.
      smoothing: standard deviation in pixels of a Gaussian over the map before it is drawn.
      shared_scale: whether all maps have one scale, so that they can be compared, or each its own.
      axes: n axes to draw into; None for a new figure, with at most ten panels in a row.

    Returns:
      The figure. Each panel says its scale, and the smoothing if there is one.

    Raises:
      ValueError: other shapes, a percentile outside (0, 100], or a negative smoothing.

    >>> import numpy as np
    >>> from signsal_jax import report
    >>> figure = report.plot_signed(np.asarray([[[1.0, -2.0]]]), titles=["cat"])
    >>> figure.axes[0].images[0].get_clim()
    (-2.0, 2.0)
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 3:
        raise ValueError(f"values: expected [n, h, w], got shape {values.shape}")
    check_treatment(percentile, smoothing)
    if images is not None and np.shape(images)[:3] != values.shape:
        raise ValueError(f"images: expected {values.shape} and channels, got {np.shape(images)}")
    if smoothing:
        values = np.stack([smoothed(each, smoothing) for each in values])
    columns = len(values) if axes is not None else max(1, min(len(values), _MOST_IN_A_ROW))
    figure, panels = grid(axes, -(-len(values) // columns), columns)
    for axis in panels.flat[len(values) :]:
        axis.set_axis_off()
    panels = panels.flat[: len(values)]
    ends = [scale_end(each, percentile) for each in values]
    if shared_scale:
        ends = [max(ends)] * len(ends)
    for number, (axis, each, end) in enumerate(zip(panels, values, ends, strict=True)):
        if images is not None:
            show_image(axis, np.asarray(images[number]))
        # Over a photo the map fades where it is small, so that the photo shows through.
        alpha = np.sqrt(np.clip(np.abs(each) / (end or 1), 0, 1)) if images is not None else None
        limits: Any = {"vmin": -(end or 1), "vmax": end or 1}
        axis.imshow(each, cmap=DIVERGING, alpha=alpha, interpolation="nearest", **limits)
        note = f"±{end:.2g}{treatment(percentile, smoothing)}"
        bare(axis, titles[number] if titles else "", note)
    return figure


def plot_runner_up(
    runner_up: Int[np.ndarray, "h w"] | Any,
    class_names: Sequence[str],
    *,
    margin: Float[np.ndarray, "h w"] | Any = None,
    axes: Axes | None = None,
) -> Figure:
    """Draws which class competes where: the five most frequent by color, the others in gray.

    Args:
      runner_up: `[h, w]` class indices, such as `saliency.runner_up["active"][0]`; -1: nobody.
      class_names: of all classes.
      margin: `[h, w]`, such as `saliency.margin["active"][0]`; where it is not positive the pixel
        is not active and stays white. None to draw all.
      axes: one axis to draw into; None for a new figure.

    Returns:
      The figure, with the share of the drawn pixels beside each name.

    Raises:
      ValueError: not an image of class indices.

    >>> import numpy as np
    >>> from signsal_jax import report
    >>> figure = report.plot_runner_up(np.asarray([[0, 1], [1, -1]]), ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['dog 67 %', 'cat 33 %']
    """
    classes = np.asarray(runner_up)
    if classes.ndim != 2 or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"runner_up: expected [h, w] integers, got {classes.dtype} of shape {classes.shape}"
        )
    if classes.size and classes.max() >= len(class_names):
        raise ValueError(
            f"runner_up: expected classes below {len(class_names)}, got {classes.max()}"
        )
    shown = classes >= 0
    if margin is not None:
        shown &= np.asarray(margin) > 0
    counts = np.bincount(classes[shown], minlength=len(class_names))
    most = [
        int(each) for each in np.argsort(-counts, kind="stable")[: len(_CLASSES)] if counts[each]
    ]
    codes = np.where(shown, len(most), len(most) + 1)
    for code, each in enumerate(most):
        codes[shown & (classes == each)] = code
    colors = [*_CLASSES[: len(most)], _OTHERS, _NOBODY]
    figure, panels = grid(None if axes is None else [axes], 1, 1, size=(5.2, 3.2))
    axis = panels[0, 0]
    norm = BoundaryNorm(np.arange(len(colors) + 1) - 0.5, len(colors))
    axis.imshow(codes, cmap=ListedColormap(colors), norm=norm, interpolation="nearest")
    total = max(int(counts.sum()), 1)
    names = [f"{class_names[each]} {100 * counts[each] / total:.0f} %" for each in most]
    if others := total - int(counts[most].sum()) if counts.sum() else 0:
        names.append(f"others {100 * others / total:.0f} %")
    patches = [Patch(facecolor=c, label=n) for c, n in zip(colors, names, strict=False)]
    if patches:
        legend = axis.legend(handles=patches, loc="center left", bbox_to_anchor=(1.02, 0.5))
        for text in legend.get_texts():
            text.set_parse_math(False)
    bare(axis)
    return figure


def plot_effects(
    names: Sequence[str],
    effects: Float[np.ndarray, " n"] | Any,
    intervals: Float[np.ndarray, "n 2"] | Any,
    *,
    label: str,
    axes: Axes | None = None,
) -> Figure:
    """Draws effects with their intervals as dots on one scale, with zero marked.

    Args:
      names: of the rows, from the top.
      effects: `[n]`, such as differences from the random orders.
      intervals: `[n, 2]`, low and high.
      label: what the axis shows, with its unit and the interval's level.
      axes: one axis to draw into; None for a new figure.

    Raises:
      ValueError: other shapes, or an interval whose low end is above its high end.

    >>> from signsal_jax import report
    >>> figure = report.plot_effects(
    ...     ["active"], [-0.08], [[-0.09, -0.07]], label="AUC minus random (95 %)")
    >>> figure.axes[0].get_xlabel()
    'AUC minus random (95 %)'
    """
    effects, intervals = np.asarray(effects, np.float64), np.asarray(intervals, np.float64)
    if effects.shape != (len(names),) or intervals.shape != (len(names), 2):
        raise ValueError(
            f"effects, intervals: expected shapes {(len(names),)} and {(len(names), 2)}, got "
            f"{effects.shape} and {intervals.shape}"
        )
    if (intervals[:, 0] > intervals[:, 1]).any():
        raise ValueError("intervals: expected (low, high), got a low end above its high end")
    size = (5.0, 0.8 + 0.28 * len(names))
    figure, panels = grid(None if axes is None else [axes], 1, 1, size=size)
    axis, rows = panels[0, 0], np.arange(len(names))
    axis.axvline(0, color="#888888", linewidth=1)
    axis.hlines(rows, intervals[:, 0], intervals[:, 1], color="#0072b2", linewidth=2)
    axis.plot(effects, rows, "o", color="#0072b2")
    axis.set_yticks(rows, names, **AS_WRITTEN)
    axis.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
    axis.grid(axis="x", alpha=0.3)
    return figure
