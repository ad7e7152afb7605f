"""The end of a color scale: one rule for figures and for the explorer."""

import numpy as np

# Of the magnitudes; what is above gets the color at the end.
PERCENTILE = 99.5


def scale_end(values: np.ndarray, percentile: float = PERCENTILE) -> float:
    """The magnitude that gets the last color; the largest one where the percentile is zero.

    Values that are not finite do not count; without any other, 0.
    """
    magnitudes = np.abs(values[np.isfinite(values)])
    if not magnitudes.size:
        return 0.0
    return float(np.percentile(magnitudes, percentile)) or float(magnitudes.max())
