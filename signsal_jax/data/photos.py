"""Photos from files, cropped and scaled as a network expects them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFile, ImageOps

from signsal_jax import _checks

INTERPOLATIONS = ("bilinear", "bicubic")


def read_image(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    *,
    crop: float = 1.0,
    interpolation: str = "bilinear",
) -> Float[np.ndarray, "h w c"]:
    """Reads a picture, crops its center to the shape's proportions and scales it.

    Args:
      path: a file in any format that Pillow reads; turned upright by its EXIF orientation.
      shape: (height, width, channels) of the result; 1 channel for grayscale, 3 for colour.
      crop: how much of the largest such center is kept, in (0, 1], a share of height and width.
      interpolation: "bilinear" or "bicubic", in both cases antialiased.

    Returns:
      float32 `[h, w, c]` in [0, 1].

    Raises:
      FileNotFoundError: no such file.
      ValueError: another crop or interpolation; not an image, a corrupt or truncated one, or one
        whose pixels have no known white.

    >>> import tempfile, pathlib
    >>> from PIL import Image
    >>> from signsal_jax.data.photos import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "red.png"
    ...     Image.new("RGB", (40, 20), "red").save(path)
    ...     image = read_image(path, (8, 8, 3))
    >>> image.shape, image[0, 0].tolist()
    ((8, 8, 3), [1.0, 0.0, 0.0])
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"image {path}: expected a picture, found {found}")
    height, width, channels = shape
    _checks.check_member("interpolation", interpolation, INTERPOLATIONS)
    if not 0 < crop <= 1:
        raise ValueError(f"crop: expected a share in (0, 1], got {crop}")
    method = Image.Resampling[interpolation.upper()]
    try:
        with _refusing_truncated(), Image.open(path) as opened:
            picture = _eight_bits(ImageOps.exif_transpose(opened))
            picture = picture.convert("L" if channels == 1 else "RGB")
            picture = ImageOps.fit(picture, (width, height), method, bleed=(1 - crop) / 2)
    # Pillow's readers raise all of these for damaged files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {path}: expected a readable picture, got: {error}") from error
    return np.asarray(picture, np.float32).reshape(shape) / 255


@contextlib.contextmanager
def _refusing_truncated() -> Iterator[None]:
    """Pillow's own default, which TFDS's image decoder switches off for the whole process."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Sixteen bits a pixel scaled to eight; Pillow itself would cut them off at 255."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels whose white is unknown (mode {picture.mode})")
    return picture
