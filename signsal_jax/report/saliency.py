"""The figure of `saliency_maps`: every map of every image, each in the color of its sign."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signsal_jax.maps import Saliency
from signsal_jax.report.canvas import bare, grid, show_image
from signsal_jax.report.explorer import map_kind
from signsal_jax.report.plots import DIVERGING
from signsal_jax.report.scales import PERCENTILE, scale_end
from signsal_jax.report.treatment import check_treatment, smoothed, treatment

# Of magnitudes: red and blue together.
_UNSIGNED = "Purples"
_COMPARED = ("active", "inactive")


def plot_saliency(
    saliency: Saliency,
    images: Num[np.ndarray, "b h w c"] | Any = None,
    *,
    class_names: Sequence[str] = (),
    overlay: bool = False,
    percentile: float = PERCENTILE,
    smoothing: float = 0.0,
    axes: Any = None,
) -> Figure:
    """Draws the maps of a batch, one row per image.

    Maps of positive gradients are red, of negative ones blue, of magnitudes purple; signed maps
    (`channel="none"`, summed over channels) red and blue. With active and inactive, the last panel
    is their margins to the closest other class: red where brighter favors the class over every
    other, blue where darker does.

    Args:
      saliency: from `saliency_maps`.
      images: `[b, h, w, c]` in [0, 1], drawn first; None for the maps alone.
      class_names: of all classes, for the titles.
      overlay: whether the maps are drawn over the dimmed images.
      percentile: of each map's magnitudes; what is above gets the color at the end.
      smoothing: standard deviation in pixels of a Gaussian over each map; 0: none.
      axes: axes to draw into, row by row; None for a new figure.

    Returns:
      The figure. Below each map stands where its scale ends, and what was done to it; "empty" and
      "not valid" where there is nothing to see.

    Raises:
      ValueError: images of another shape, `overlay` without images, a percentile outside (0, 100],
        a negative smoothing, or another number of axes.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> images = jnp.ones((1, 2, 2, 1))
    >>> saliency = signsal_jax.saliency_maps(apply_fn, jnp.asarray([[2.0, -1.0]]), images)
    >>> figure = saliency.plot(images, class_names=["cat", "dog"])
    >>> [axis.get_title() for axis in figure.axes][:3]
    ['cat 100 %', 'vanilla', 'positive']
    """
    check_treatment(percentile, smoothing)
    logits = np.asarray(saliency.logits, np.float64)
    target, valid = np.asarray(saliency.target), np.asarray(saliency.valid)
    maps = {name: np.asarray(values, np.float64) for name, values in saliency.maps.items()}
    shape = next(iter(maps.values())).shape[:3] if maps else logits.shape[:1]
    if images is None and overlay:
        raise ValueError("images: expected images to draw over, got none")
    if images is not None and (np.ndim(images) != 4 or np.shape(images)[: len(shape)] != shape):
        raise ValueError(f"images: expected {shape} and channels, got {np.shape(images)}")
    kinds = {name: "signed" if maps[name].ndim == 4 else map_kind(name) for name in maps}
    panels = {n: values.sum(-1) if values.ndim == 4 else values for n, values in maps.items()}
    if all(name in saliency.margin for name in _COMPARED):
        above, below = (np.asarray(saliency.margin[name], np.float64) for name in _COMPARED)
        panels["active − inactive"] = np.maximum(above, 0) - np.maximum(below, 0)
        kinds["active − inactive"] = "signed"
    first = 0 if images is None else 1
    figure, cells = grid(axes, len(logits), first + len(panels))
    for row, line in enumerate(cells):
        if images is not None:
            show_image(line[0], np.asarray(images[row]), dimmed=False)
            bare(line[0], _title(logits[row], int(target[row]), class_names))
        for axis, (name, values) in zip(line[first:], panels.items(), strict=True):
            under = np.asarray(images)[row] if overlay else None
            each = smoothed(values[row], smoothing) if smoothing and valid[row] else values[row]
            end = _draw(axis, each, kinds[name], percentile, under)
            low = f"±{end:.2g}" if kinds[name] == "signed" else f"0 to {end:.2g}"
            note = f"{low}{treatment(percentile, smoothing)}" if end else "empty"
            bare(axis, name if not row else "", note if valid[row] else "not valid")
    return figure


def _title(logits: np.ndarray, target: int, class_names: Sequence[str]) -> str:
    name = class_names[target] if class_names and 0 <= target < len(logits) else f"class {target}"
    if not 0 <= target < len(logits) or not np.isfinite(logits).all():
        return name
    exponentials = np.exp(logits - logits.max())
    return f"{name} {100 * exponentials[target] / exponentials.sum():.0f} %"


def _draw(
    axis: Axes,
    values: Float[np.ndarray, "h w"],
    kind: str,
    percentile: float,
    under: np.ndarray | None,
) -> float:
    """Draws one map, over an image if there is one, and returns where its scale ends."""
    end = scale_end(values, percentile)
    relative = np.clip(np.nan_to_num(values) / (end or 1), -1, 1)
    if under is not None:
        show_image(axis, under)
    # Over a photo the map fades where it is small, so that the photo shows through.
    alpha = None if under is None else np.sqrt(np.abs(relative))
    style: Any = {"cmap": DIVERGING, "vmin": -1, "vmax": 1, "alpha": alpha}
    if kind == "any":
        style |= {"cmap": _UNSIGNED, "vmin": 0}
    shown = -relative if kind == "negative" else relative
    axis.imshow(shown, interpolation="nearest", **style)
    return end
