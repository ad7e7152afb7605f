"""Checks that both sides computed the same result, before they are timed.

Float32 sums in different orders differ in the last digits. Logits and most gradients then differ as
little, but where an activation moves across zero, a ReLU changes the gradient visibly. So gradients
and maps are compared by how much of them differs, not by their worst pixel.
"""

import numpy as np

LOGITS = 1e-3
GRADIENTS = 1e-2
MAPS = 1e-2
MAP_STEP = 1e-2
DELETION = 1e-2
LOSS = 1e-4


class MismatchError(Exception):
    """The two sides computed different results: timing them would mean nothing."""


def _require(what: str, value: float, most: float) -> float:
    if not value <= most:
        raise MismatchError(f"{what}: expected at most {most:g}, got {value:g}")
    return float(value)


def _same_shape(ours: np.ndarray, theirs: np.ndarray) -> None:
    if ours.shape != theirs.shape:
        raise MismatchError(f"shape: expected {theirs.shape} like PyTorch's, got {ours.shape}")


def compare_logits(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest logit."""
    _same_shape(ours, theirs)
    return _require("logits", abs(ours - theirs).max() / abs(theirs).max(), LOGITS)


def compare_gradients(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The norm of the difference, relative to the norm of PyTorch's gradients."""
    _same_shape(ours, theirs)
    difference = np.linalg.norm((ours - theirs).ravel()) / np.linalg.norm(theirs.ravel())
    return _require("gradients", float(difference), GRADIENTS)


def compare_maps(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of pixels that differ by more than a hundredth of the map's range.

    A constant map is NaN throughout on PyTorch's side and zero on ours.
    """
    _same_shape(ours, theirs)
    differing = abs(ours - np.nan_to_num(theirs, nan=0.0)) > MAP_STEP
    return _require("share of differing map pixels", differing.mean(), MAPS)


def compare_agreements(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of (image, fraction) pairs judged differently."""
    _same_shape(ours, theirs)
    return _require("share of differing predictions", (ours != theirs).mean(), DELETION)


def compare_losses(ours: float, theirs: float) -> float:
    """The difference of the first training step's losses, relative to PyTorch's loss."""
    return _require("loss", abs(ours - theirs) / abs(theirs), LOSS)
