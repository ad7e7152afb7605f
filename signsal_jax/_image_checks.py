"""Eager checks of a batch of images: its static facts, and the values of its pixels on the host."""

import sys
import warnings
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np

_CHANNEL_COUNTS = (1, 2, 3, 4)


class PixelRangeWarning(UserWarning):
    """Images whose pixels are far outside [0, 1], such as 0 to 255."""


_warned_of_pixel_range = False


def check_image_batch(images: Any) -> None:
    """Raises unless `images` is a floating-point, channels-last batch of rank 4."""
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    if shape is None or dtype is None:
        raise TypeError(f"images: expected an array, got {type(images).__name__}")
    if len(shape) != 4:
        hint = ": add a batch axis, images[None]" if len(shape) == 3 else ""
        raise ValueError(
            f"images: expected rank 4 [batch, height, width, channels], got shape {shape}{hint}"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"images: expected floating point in [0, 1], got {dtype}: "
            "convert with images.astype('float32') / 255"
        )
    # If width or channels (read as NHWC) are also that small, this is a tiny image, not NCHW.
    if shape[1] in _CHANNEL_COUNTS and not {*shape[2:]} & {*_CHANNEL_COUNTS}:
        raise ValueError(
            "images: expected channels last [batch, height, width, channels], got shape "
            f"{shape}, which looks like NCHW: transpose with images.transpose(0, 2, 3, 1)"
        )
    if 0 in shape:
        raise ValueError(f"images: expected at least one image and pixel, got shape {shape}")


def warn_of_pixel_range(images: Any) -> None:
    """Warns, once per process, about pixels above 2, if this process can read the values.

    Inside `jax.jit` it cannot, and nothing is checked: see `check_images`.
    """
    global _warned_of_pixel_range
    known = not isinstance(images, jax.core.Tracer) and getattr(
        images, "is_fully_addressable", True
    )
    if _warned_of_pixel_range or not known:
        return
    highest = float(np.asarray(images).max())
    if highest > 2:
        _warned_of_pixel_range = True
        # Point the warning at the line that called this library.
        frame, level = sys._getframe(), 1
        while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == "signsal_jax":
            frame, level = frame.f_back, level + 1
        warnings.warn(
            f"images: expected pixels in [0, 1], got {highest:g}: divide by 255?",
            PixelRangeWarning,
            stacklevel=level,
        )


def check_images(images: Any) -> None:
    """Checks a batch's pixel values on the host, for use at the edges of a program.

    Reads the values, so it waits for the device and cannot be used inside `jax.jit`;
    the library's own functions check static facts only.

    Args:
      images: float `[b, h, w, c]`, every pixel finite and in [0, 1].

    Raises:
      TypeError: not an array, or not floating point.
      ValueError: wrong rank, looks like NCHW, NaN, or pixels outside [0, 1]; the message
        names the first offending image and pixel.

    >>> import numpy as np, signsal_jax
    >>> signsal_jax.check_images(np.full((1, 2, 2, 3), 0.5, np.float32))
    >>> signsal_jax.check_images(np.full((1, 2, 2, 3), 255.0, np.float32))
    Traceback (most recent call last):
    ...
    ValueError: images: expected pixels in [0, 1], got 255.0 at image 0, row 0, column 0, channel 0
    """
    check_image_batch(images)
    values = np.asarray(images)
    _raise_at(values, ~((values >= 0) & (values <= 1)))


def check_pixel_range(images: np.ndarray) -> None:
    """Raises for a finite pixel outside [0, 1]; data sets may hold images that are not finite."""
    _raise_at(images, np.isfinite(images) & ((images < 0) | (images > 1)))


def _raise_at(values: np.ndarray, wrong: np.ndarray) -> None:
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"images: expected pixels in [0, 1], got {values[place]} at image {place[0]}, "
            f"row {place[1]}, column {place[2]}, channel {place[3]}"
        )
