"""How much the classes of a study have in common: sign agreement and cosines."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from signsal_jax.data import display_name
from signsal_jax.report.canvas import grid
from signsal_jax.report.strips import plot_classes
from signsal_jax.report.summary import read_rows
from signsal_jax.study import Store

_LABELS = {
    "sign_agreement": "sign agreement, mean over images",
    "gram": "cosine of the gradients, mean over images",
}


def plot_pairs(store: Store, *, axes: Any = None) -> Figure:
    """Draws the sign-agreement and Gram matrices of a study, finished or not.

    Args:
      store: a study with stored `sign_agreement`, `gram` or both. The Gram matrix of each image is
        scaled to cosines, so that an image with large gradients counts no more than another.
      axes: one axis for each stored matrix; None for a new figure.

    Returns:
      The figure: means over the valid images, red where two classes agree, blue where they oppose.

    Raises:
      ValueError: neither is stored, or no valid image has been computed.
    """
    stored = [name for name in _LABELS if name in store.arrays()]
    if not stored:
        raise ValueError(
            f"study {store.folder}: expected stored {' or '.join(_LABELS)}, got "
            f"{', '.join(store.arrays())}"
        )
    valid = read_rows(store, "valid")
    if not valid.any():
        raise ValueError(f"study {store.folder}: expected a valid image, got none of {len(valid)}")
    names = [display_name(name) for name in store.manifest["names"]["class"]]
    side = max(3.5, 0.4 * len(names))
    figure, panels = grid(axes, 1, len(stored), size=(side + 1, side))
    for axis, name in zip(panels[0], stored, strict=True):
        values = read_rows(store, name)[valid].astype(np.float64)
        if name == "gram":
            norms = np.sqrt(np.diagonal(values, axis1=1, axis2=2))
            product = norms[:, :, None] * norms[:, None, :]
            values = np.divide(values, product, out=np.zeros_like(values), where=product > 0)
        plot_classes(values.mean(0), names, label=_LABELS[name], axes=axis)
        axis.images[0].set_clim(-1, 1)  # what both can be, whatever occurs
    return figure
