"""The files of one explained picture."""

from pathlib import Path

import numpy as np

from signsal_jax import _files
from signsal_jax.report.examples import Example
from signsal_jax.report.panels import maps_figure


def write_explanation(folder: Path, figure: str | None, maps: str, example: Example) -> None:
    """Writes the figure, if its name is not None, and the arrays of all maps."""
    if figure is not None:
        maps_figure([example], folder / figure, over_photo=True)
    arrays = {**example.maps, **(example.signed or {})}
    _files.write_atomically(
        folder / maps, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays)
    )
