"""Photos from files: every kind that people have, and every kind of broken one."""

import contextlib
import io
import os
import threading

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, TiffImagePlugin

from scripts import attack_pictures
from signsal_jax.data import photos
from signsal_jax.data.photos import PictureError, printable, read_image

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
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_photos_are_turned_upright(tmp_path, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", colors(), exif=exif)
    expected = undo(colors()).astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(path, SHAPE), expected)


def test_a_turned_photo_is_cropped_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", colors(40, 64), exif=exif)
    upright = Image.fromarray(np.rot90(colors(40, 64), -1).copy())
    expected = ImageOps.fit(upright, (20, 12), Image.Resampling.BILINEAR)
    # Turned after scaling, so that a pixel may be rounded the other way.
    np.testing.assert_allclose(
        read_image(path, (12, 20, 3)), np.asarray(expected) / 255, atol=1.01 / 255
    )


def test_cmyk(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    np.testing.assert_allclose(read_image(path, SHAPE)[4, 4], [1, 0, 0], atol=0.01)


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


def test_an_exception_of_any_type_is_the_pictures(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", colors())
    for error in (KeyError("size"), ZeroDivisionError(), MemoryError(), RuntimeError("a\nb")):

        def failing(*_, error=error, **__):
            raise error

        monkeypatch.setattr(photos.Image, "open", failing)
        with pytest.raises(PictureError, match=r"expected a readable picture, got: .+") as raised:
            read_image(path, SHAPE)
        assert "\n" not in str(raised.value)


# Formats.


@pytest.mark.parametrize("suffix", [".eps", ".png", ".jpg", ""])
def test_postscript_starts_no_program(tmp_path, monkeypatch, suffix):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("subprocess.check_call", started)
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(colors()).save(path, "EPS")
    assert_unreadable(path)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_the_suffix_does_not_matter(tmp_path, picture_format):
    path = tmp_path / "picture.txt"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path, picture_format)
    np.testing.assert_allclose(read_image(path, SHAPE)[4, 4], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("picture_format", ["TGA", "ICO", "PCX"])
def test_other_formats_are_refused(tmp_path, picture_format):
    path = tmp_path / "picture.png"
    Image.fromarray(colors(32, 32)).save(path, picture_format)
    assert_unreadable(path)


# Large pictures.


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch, picture_format):
    def decoded(*_):
        raise AssertionError("the pixels were decoded")

    path = tmp_path / "picture"
    Image.new("L", (30, 20)).convert("RGB").save(path, picture_format)
    monkeypatch.setitem(photos.MAX_PIXELS, picture_format, 599)
    monkeypatch.setattr(photos, "_MAX_PIXELS_IN_TWO_STEPS", 599)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(PictureError, match="got: 30 x 20 pixels; expected at most 599 in a"):
        read_image(path, SHAPE)


def test_kinds_that_are_decoded_in_two_steps_have_a_lower_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "_MAX_PIXELS_IN_TWO_STEPS", 63)
    read_image(save(tmp_path / "a.jpg", colors()), SHAPE)
    read_image(save(tmp_path / "a.tif", colors()[..., 0]), SHAPE)
    for path in (
        save(tmp_path / "b.jpg", colors(), progressive=True),
        save(tmp_path / "b.tif", colors()),
    ):
        with pytest.raises(PictureError, match="8 x 8 pixels; expected at most 63 in a "):
            read_image(path, SHAPE)


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.write(encoded("PNG"))
        file.truncate(2**40)
    with pytest.raises(PictureError, match=f"a file of {2**40} bytes; expected at most 750000000"):
        read_image(path, SHAPE)


def test_pillows_own_limit_is_not_met_first(tmp_path, monkeypatch):
    # It would warn from so many pixels on, and fail from twice as many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(save(tmp_path / "a.png", colors()), SHAPE).shape == SHAPE
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_large_pictures_are_scaled_in_bands_to_the_same_pixels(tmp_path, monkeypatch, mode, method):
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    path = tmp_path / "picture.tif"
    if mode == "I;16":
        save(path, noise[..., 0].astype(np.uint16) * 257)
    else:
        Image.fromarray(noise).convert(mode).save(path)
    for shape, crop in (((8, 8, 3), 1.0), ((30, 10, 3), 0.9), ((120, 100, 1), 0.5)):
        whole = read_image(path, shape, crop=crop, interpolation=method)
        with monkeypatch.context() as patch:
            patch.setattr(photos, "_LARGE_PIXELS", 0)
            patch.setattr(photos, "_BAND_PIXELS", 70 * 7)
            banded = read_image(path, shape, crop=crop, interpolation=method)
        # Boxes are float32 in Pillow, and where rows are shifted they round another way.
        np.testing.assert_allclose(banded, whole, atol=1.01 / 255)
        assert np.mean(banded == whole) > 0.95


def test_large_jpegs_are_decoded_at_a_fraction(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", colors(250, 330), quality=95)
    whole = read_image(path, SHAPE)
    sizes, load = [], JpegImagePlugin.JpegImageFile.load

    def recorded(picture):
        sizes.append(picture.size)
        return load(picture)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", recorded)
    monkeypatch.setattr(photos, "_LARGE_PIXELS", 0)
    reduced = read_image(path, SHAPE)
    assert sizes[0] == (42, 32)
    np.testing.assert_allclose(reduced, whole, atol=0.02)


# Settings of the whole process.


def test_threads_leave_pillows_settings_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    limit = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path / "a.png", colors())
    inside, leave = threading.Barrier(2), threading.Barrier(2)
    load = TiffImagePlugin.ImageFile.ImageFile.load
    seen = []

    def waiting(picture):
        inside.wait(5)
        seen.append((ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS))
        leave.wait(5)
        return load(picture)

    monkeypatch.setattr(ImageFile.ImageFile, "load", waiting)
    threads = [threading.Thread(target=read_image, args=(path, SHAPE)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {(False, None)}
    assert (True, limit) == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)


# Names.


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a\nb.png", "ä €.png".encode(), b"a" * 255])
def test_names_of_every_kind(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(encoded("PNG"))
    assert read_image(path, SHAPE).shape == SHAPE
    path.write_bytes(b"")
    with pytest.raises(PictureError) as raised:
        read_image(path, SHAPE)
    str(raised.value).encode("utf-8")
    assert "\n" not in str(raised.value)


def test_printable():
    assert printable("ä €.png") == "ä €.png"
    assert printable(os.fsdecode(b"\xff\x1b[31m\n")) == r"\udcff\x1b[31m\n"


@damaged_files
def test_attack(tmp_path):
    with attack_pictures.quiet_libtiff():
        outcomes, errors = attack_pictures.attack(300, 1, tmp_path)
    assert errors == []
    assert set(outcomes) == {"read", "refused"}
    assert min(outcomes.values()) > 30
