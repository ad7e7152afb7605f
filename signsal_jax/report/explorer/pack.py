"""Arrays as short text: rounded to a stated step, compressed, in base64."""

import base64
import zlib
from typing import Any

import numpy as np

from signsal_jax.report.scales import scale_end

# Colors between zero and the end of a scale, and steps of a stored number in one of them.
COLORS, STEPS_PER_COLOR = 127, 8
_TYPES = ("<i2", "<i4")
_LARGEST = 2**31 - 1


def pack_signed(values: np.ndarray) -> dict[str, Any]:
    """Rounds signed numbers to an eighth of the step between two colors.

    A number never loses its sign: only zero itself becomes zero. The step is larger only where the
    largest number is 2 million times as large as the scale.

    Args:
      values: signed, of any shape; NaN counts as zero.

    Returns:
      `scale` (what the color at the end of the scale stands for), `step` (numbers are within one
      step of the packed ones), `width` (bytes per number) and `data` (see `_encode`).
    """
    values = np.nan_to_num(np.asarray(values, np.float64), posinf=0, neginf=0)
    largest, scale = float(np.abs(values).max(initial=0)), scale_end(values)
    step = max(scale / (COLORS * STEPS_PER_COLOR), largest / _LARGEST)
    rounded = np.round(values / step) if step else values
    rounded = np.where(rounded == 0, np.sign(values), rounded)
    wide = bool(np.abs(rounded).max(initial=0) > np.iinfo(np.int16).max)
    rounded = rounded.astype(_TYPES[wide])
    data = _encode(rounded)
    return {"scale": scale, "step": step, "width": rounded.itemsize, "data": data}


def pack_shares(values: np.ndarray) -> dict[str, Any]:
    """Rounds numbers in [0, 1] to 255ths; only zero itself becomes zero.

    Returns:
      As `pack_signed`; a scale of 0 means that all are zero.
    """
    values = np.nan_to_num(np.asarray(values, np.float64), posinf=0, neginf=0)
    rounded = np.clip(np.round(255 * values), 0, 255)
    rounded = np.where((rounded == 0) & (values > 0), 1, rounded).astype(np.uint8)
    return {"scale": float(rounded.any()), "step": 1 / 255, "data": _encode(rounded)}


def pack_indices(values: np.ndarray) -> str:
    """Packs integers in [0, 255] as they are."""
    return _encode(np.asarray(values, np.uint8))


def _encode(values: np.ndarray) -> str:
    """Compresses: all lowest bytes first and all highest, which are mostly alike, last."""
    planes = values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")
