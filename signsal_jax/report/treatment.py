"""What may be done to a map before it is drawn, and the words that say so."""

import numpy as np


def check_treatment(percentile: float, smoothing: float) -> None:
    """Raises unless the percentile is in (0, 100] and the smoothing is not negative."""
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected above 0 and at most 100, got {percentile}")
    if not smoothing >= 0:
        raise ValueError(f"smoothing: expected at least 0 pixels, got {smoothing}")


def treatment(percentile: float, smoothing: float) -> str:
    """What was done to a map before it was drawn, to be written below it."""
    clipped = f", {percentile:g}th percentile" if percentile < 100 else ""
    smooth = f",\nsmoothed by {smoothing:g} px" if smoothing else ""
    return clipped + smooth


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over `[h, w]`, its weights cut at three sigmas and renormalized at the edges."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    for axis in (0, 1):
        there = np.ones(values.shape[axis])

        def blur(line: np.ndarray) -> np.ndarray:
            return np.convolve(line, weights, "full")[reach : reach + len(line)]

        values = np.apply_along_axis(blur, axis, values)
        norm = blur(there)
        values = values / (norm[:, None] if axis == 0 else norm[None, :])
    return values
