"""Photos from files: every kind that people have, and every kind of broken one."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from signsal_jax.data.photos import read_image

SHAPE = (8, 8, 3)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def colors(height=8, width=8):
    """Smooth, so that JPEG keeps it: red grows to the right, green downwards."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // (width - 1), rows * 255 // (height - 1)
    return np.stack([red, green, np.full_like(red, 90)], axis=-1).astype(np.uint8)


def test_png_is_exact(tmp_path):
    image = read_image(save(tmp_path / "a.png", colors()), SHAPE)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, colors().astype(np.float32) / 255)


def test_jpeg_is_close(tmp_path):
    path = save(tmp_path / "a.jpg", colors(), quality=95, subsampling=0)
    image = read_image(path, SHAPE)
    np.testing.assert_allclose(image, colors() / 255, atol=0.05)


def test_a_string_is_a_path_too(tmp_path):
    path = save(tmp_path / "a.png", colors())
    np.testing.assert_array_equal(read_image(str(path), SHAPE), read_image(path, SHAPE))


def test_grayscale_file_for_a_colour_network(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = read_image(save(tmp_path / "a.png", gray), SHAPE)
    np.testing.assert_array_equal(image, np.repeat(gray[..., None] / np.float32(255), 3, axis=2))


def test_colour_file_for_a_grayscale_network(tmp_path):
    image = read_image(save(tmp_path / "a.png", colors()), (8, 8, 1))
    # The luma of ITU-R 601.
    luma = colors() @ np.asarray([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(image[..., 0], luma, atol=1 / 255)


def test_alpha_is_left_out(tmp_path):
    rgba = np.concatenate([colors(), np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    image = read_image(save(tmp_path / "a.png", rgba), SHAPE)
    np.testing.assert_array_equal(image, colors().astype(np.float32) / 255)


def test_sixteen_bits_span_black_to_white(tmp_path):
    deep = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    path = save(tmp_path / "a.png", deep)
    for channels in (1, 3):
        image = read_image(path, (8, 8, channels))
        np.testing.assert_allclose(image[..., 0], deep / 65535, atol=0.5 / 255 + 1e-6)


def test_pixels_without_a_white_are_refused(tmp_path):
    path = save(tmp_path / "a.tiff", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(ValueError, match=r"a\.tiff.*white is unknown \(mode F\)"):
        read_image(path, SHAPE)


def test_palette_file(tmp_path):
    path = tmp_path / "a.gif"
    Image.new("RGB", (8, 8), (255, 0, 0)).convert("P").save(path)
    assert read_image(path, SHAPE)[4, 4].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_photos_are_turned_upright(tmp_path, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", colors(), exif=exif)
    expected = undo(colors()).astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(path, SHAPE), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 8)])
def test_the_center_is_cropped_to_the_proportions(tmp_path, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4] = 255
    assert (read_image(save(tmp_path / "a.png", picture), SHAPE) == 1).all()


@pytest.mark.parametrize(("height", "width"), [(32, 64), (32, 32), (48, 32)])
def test_a_smaller_center_is_cropped(tmp_path, height, width):
    # Half of the shorter side, 16 pixels: every fourth is the mean of two by two.
    picture = np.full((height, width, 3), 255, np.uint8)
    top, left = height // 2 - 8, width // 2 - 8
    picture[top : top + 16, left : left + 16] = 51
    image = read_image(save(tmp_path / "a.png", picture), SHAPE, crop=0.5)
    np.testing.assert_allclose(image[2:-2, 2:-2], 0.2, atol=1 / 255)
    assert image[0, 0, 0] < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 0.0}, r"crop: expected a share in \(0, 1\], got 0.0"),
        ({"crop": 1.5}, r"crop: expected a share in \(0, 1\], got 1.5"),
        (
            {"interpolation": "cubic"},
            "interpolation: expected one of bilinear, bicubic; got",
        ),
    ],
)
def test_impossible_settings(tmp_path, settings, message):
    path = save(tmp_path / "a.png", colors())
    with pytest.raises(ValueError, match=message):
        read_image(path, SHAPE, **settings)


def test_interpolations(tmp_path):
    # Only a cubic overshoots an edge.
    edge = np.repeat(np.where(np.arange(16) < 8, 100, 200), 16).reshape(16, 16).astype(np.uint8)
    path = save(tmp_path / "a.png", edge)
    linear = read_image(path, (40, 40, 1), interpolation="bilinear")
    cubic = read_image(path, (40, 40, 1), interpolation="bicubic")
    assert (linear.min(), linear.max()) == (np.float32(100 / 255), np.float32(200 / 255))
    assert cubic.min() < linear.min()
    assert cubic.max() > linear.max()


def test_height_comes_first(tmp_path):
    path = save(tmp_path / "a.png", colors(40, 30))
    assert read_image(path, (12, 20, 3)).shape == (12, 20, 3)


def test_a_larger_photo_is_scaled_as_a_mean_of_its_pixels(tmp_path):
    checkers = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    image = read_image(save(tmp_path / "a.png", checkers.astype(np.uint8)), SHAPE)
    # Without antialiasing it would be black or white.
    np.testing.assert_allclose(image, 0.5, atol=0.05)


# What cannot be read.


def assert_unreadable(path):
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"image .*: expected a readable picture, got: ."
    ) as raised:
        read_image(path, SHAPE)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png: expected a picture, found no such"):
        read_image(tmp_path / "none.png", SHAPE)


def test_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a picture, found a folder"):
        read_image(tmp_path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"not an image\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_something_else_named_png(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    assert_unreadable(path)


def encoded(picture_format):
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, picture_format)
    return file.getvalue()


# Pillow warns of damage that it can read past.
damaged_files = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@damaged_files
@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("process_allows", [False, True])
def test_truncated_anywhere(tmp_path, picture_format, process_allows, monkeypatch):
    # TFDS's decoder switches this on for the whole process.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", process_allows)
    whole = encoded(picture_format)
    path = tmp_path / "cut"
    for percent in range(1, 96, 6):
        path.write_bytes(whole[: len(whole) * percent // 100])
        assert_unreadable(path)


@damaged_files
def test_corrupt_bytes_are_an_error_or_a_picture(tmp_path):
    # Checksums find the damage in PNG; other formats may show a wrong pixel instead.
    generator = np.random.default_rng(1)
    path = tmp_path / "damaged"
    for picture_format in ("PNG", "JPEG", "TIFF", "PPM"):
        whole = np.frombuffer(encoded(picture_format), np.uint8)
        for _ in range(25):
            damaged = whole.copy()
            places = generator.integers(0, min(len(whole), 300), 4)
            damaged[places] = generator.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            with contextlib.suppress(ValueError):
                image = read_image(path, SHAPE)
                assert image.shape == SHAPE
                assert ((image >= 0) & (image <= 1)).all()
                continue
            assert_unreadable(path)
