"""Photos from files, cropped and scaled as a network expects them."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image, ImageFile

from signsal_jax import _checks

INTERPOLATIONS = ("bilinear", "bicubic")

# The formats that are read, with the number of pixels that decode within 1 GB. Pillow would also
# open formats that start other programs, such as EPS, whatever the file's name. WebP keeps five
# copies of four bytes per pixel; TIFF may keep a whole 16-bit color picture beside the decoded one.
MAX_PIXELS = {
    "JPEG": 178_000_000,
    "PNG": 178_000_000,
    "GIF": 178_000_000,
    "BMP": 178_000_000,
    "PPM": 178_000_000,
    "TIFF": 178_000_000,
    "WEBP": 40_000_000,
}
# Progressive JPEG and 16-bit color TIFF are decoded in two steps, with both results in memory.
_MAX_PIXELS_IN_TWO_STEPS = 89_000_000
_MAX_FILE_BYTES = 750_000_000
# Larger pictures are converted in bands; JPEG is decoded at a fraction of its size.
_LARGE_PIXELS = 50_000_000
_BAND_PIXELS = 4_000_000


class PictureError(ValueError):
    """A file that cannot be read as a picture; the message names it."""


def printable(path: str | os.PathLike) -> str:
    """A path as one line of text; escapes characters that are not UTF-8 or not printable."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in os.fspath(path)
    )


def read_image(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    *,
    crop: float = 1.0,
    interpolation: str = "bilinear",
) -> Float[np.ndarray, "h w c"]:
    """Reads a picture, crops its center to the shape's proportions and scales it.

    Stays below 1 GB of memory: a picture has at most 178 million pixels (13,300 x 13,300), a
    progressive JPEG or a TIFF of 16-bit colors 89 million, a WebP 40 million.

    Args:
      path: a JPEG, PNG, GIF (the first frame), BMP, TIFF, WebP or PPM file, whatever its suffix;
        turned upright by its EXIF orientation.
      shape: (height, width, channels) of the result; 1 channel for grayscale, 3 for color.
      crop: share of the height and width of the largest such center to keep, in (0, 1].
      interpolation: "bilinear" or "bicubic", both antialiased.

    Returns:
      float32 `[h, w, c]` in [0, 1].

    Raises:
      FileNotFoundError: no such file.
      ValueError: an invalid crop or interpolation; `PictureError` for a file that is not in these
        formats, is corrupt, truncated or too large, or whose pixels have no known white.

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
        raise FileNotFoundError(f"image {printable(path)}: expected a picture, found {found}")
    _checks.check_member("interpolation", interpolation, INTERPOLATIONS)
    if not 0 < crop <= 1:
        raise ValueError(f"crop: expected a share in (0, 1], got {crop}")
    method = Image.Resampling[interpolation.upper()]
    try:
        pixels = _read(path, shape, crop, method)
    # Pillow's readers raise nearly every kind of exception for damaged files.
    except Exception as error:
        reason = printable(str(error)) or type(error).__name__
        raise PictureError(
            f"image {printable(path)}: expected a readable picture, got: {reason}"
        ) from error
    return pixels.astype(np.float32) / 255


def _read(
    path: Path, shape: tuple[int, int, int], crop: float, method: Image.Resampling
) -> np.ndarray:
    height, width, channels = shape
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise ValueError(f"a file of {size} bytes; expected at most {_MAX_FILE_BYTES}")
    with _own_settings(), Image.open(path, formats=[*MAX_PIXELS]) as picture:
        _check_size(picture)
        extent = (float(picture.width), float(picture.height))
        if picture.width * picture.height > _LARGE_PIXELS:
            # Twice the size that is needed, so that the scaling below still averages pixels.
            wanted = math.ceil(2 * max(height, width) / crop)
            drafted = picture.draft(None, (wanted, wanted))
            extent = extent if drafted is None else (float(drafted[1][2]), float(drafted[1][3]))
        picture.load()
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
        if turn in _SIDEWAYS:
            height, width = width, height
        box = _center(extent, (width, height), crop)
        mode = "L" if channels == 1 else "RGB"
        scaled = _scaled(picture, mode, (width, height), box, method)
    return np.asarray(scaled if turn is None else scaled.transpose(turn)).reshape(shape)


# By EXIF orientation, the operation that turns a picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


def _check_size(picture: Image.Image) -> None:
    """Raises, before decoding, for a picture with more pixels than decode within 1 GB."""
    kind = "JPEG" if picture.format == "MPO" else str(picture.format)
    limit = MAX_PIXELS[kind]
    if picture.info.get("progressive"):
        kind, limit = f"progressive {kind}", _MAX_PIXELS_IN_TWO_STEPS
    elif kind == "TIFF" and not picture.mode.startswith(("1", "L", "P", "I;16")):
        kind, limit = "TIFF of several channels", _MAX_PIXELS_IN_TWO_STEPS
    if picture.width * picture.height > limit:
        raise ValueError(
            f"{picture.width} x {picture.height} pixels; expected at most {limit} in a {kind}"
        )


def _center(
    extent: tuple[float, float], size: tuple[int, int], crop: float
) -> tuple[float, float, float, float]:
    """The share `crop` of the largest center with these proportions, as (x0, y0, x1, y1)."""
    scale = min(extent[0] / size[0], extent[1] / size[1]) * crop
    x, y = (max(0.0, (whole - scale * part) / 2) for whole, part in zip(extent, size, strict=True))
    return x, y, extent[0] - x, extent[1] - y


def _scaled(
    picture: Image.Image,
    mode: str,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    method: Image.Resampling,
) -> Image.Image:
    """Like `picture.convert(mode).resize(size, method, box)`, but never copies a large picture.

    Pillow first scales each row by itself, then the columns; so the rows of a large picture can be
    converted and scaled one band at a time.
    """
    if picture.width * picture.height <= _LARGE_PIXELS:
        return _eight_bits(picture).convert(mode).resize(size, method, box)
    width, height = size
    left, top, right, bottom = box
    # The filter looks at two target pixels to each side, or at two source pixels if it enlarges.
    margin = 2 * max(1.0, (bottom - top) / height) + 1
    first = max(0, math.floor(top - margin))
    last = min(picture.height, math.ceil(bottom + margin))
    rows = max(1, _BAND_PIXELS // picture.width)
    narrow = Image.new(mode, (width, last - first))
    for start in range(first, last, rows):
        end = min(start + rows, last)
        band = _eight_bits(picture.crop((0, start, picture.width, end))).convert(mode)
        band = band.resize((width, end - start), method, (left, 0, right, end - start))
        narrow.paste(band, (0, start - first))
    return narrow.resize(size, method, (0, top - first, width, bottom - first))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scales 16-bit pixels to eight bits; Pillow itself would clip them at 255."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels whose white is unknown (mode {picture.mode})")
    return picture


_settings_lock = threading.Lock()
_settings_before: list[tuple[bool, int | None]] = []


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Makes Pillow refuse truncated files, and leave the limit on pixels to `_check_size`.

    Both are settings of the whole process, and TFDS's decoder allows truncated files. With several
    threads inside, the first one in saves the settings and the last one out restores them.
    """
    with _settings_lock:
        _settings_before.append((ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS))
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        yield
    finally:
        with _settings_lock:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = _settings_before.pop()
