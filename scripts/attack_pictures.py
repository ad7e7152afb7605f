"""Feeds damaged pictures to the reader: each must give a picture or a `PictureError`.

python scripts/attack_pictures.py [--count 2000] [--seed 0]

Flips bytes, truncates, splices and repeats parts of small pictures in every format that is read,
and of one file in a format that starts another program. Prints one line: the numbers of pictures,
of those read and refused, of raw errors and of programs started, and the growth of memory. Exits
with 1 after a raw error, wrong pixels, a started program, or more memory than the limit.
"""

import argparse
import contextlib
import io
import os
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from signsal_jax.data.photos import PictureError, read_image

SHAPE = (8, 8, 3)
# MiB that reading may add to the process's memory: the reader promises less than 1 GB.
MEMORY_LIMIT = 1000
_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def seeds() -> list[bytes]:
    """One small file per format and kind of pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    color, alpha = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        (color, "PNG", {"exif": exif}),
        (alpha, "PNG", {}),
        (deep, "PNG", {}),
        (color.quantize(16), "PNG", {"transparency": 3}),
        (color, "JPEG", {"exif": exif}),
        (color, "JPEG", {"progressive": True}),
        (color.convert("CMYK"), "JPEG", {}),
        (color.quantize(16), "GIF", {"save_all": True, "append_images": [alpha]}),
        (color, "BMP", {}),
        (color.convert("1"), "BMP", {}),
        (color, "TIFF", {"exif": exif}),
        (deep, "TIFF", {}),
        *((color, "TIFF", {"compression": name}) for name in ("tiff_lzw", "jpeg", "packbits")),
        (color.convert("1"), "TIFF", {"compression": "group4"}),
        (color, "WEBP", {}),
        (alpha, "WEBP", {"lossless": True}),
        (color, "PPM", {}),
        (deep, "PPM", {}),
    ]
    files = []
    for picture, kind, options in kinds:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return [*files, _POSTSCRIPT]


def mutated(files: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` files, each damaged once or several times."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        content = bytearray(files[number % len(files)])
        for _ in range(generator.integers(1, 4)):
            content = _damaged(content, files, generator)
        yield bytes(content)


def _damaged(content: bytearray, files: list[bytes], generator: np.random.Generator) -> bytearray:
    kind = generator.choice(["flip", "head", "number", "truncate", "splice", "repeat"])
    if len(content) < 8:
        return content
    # Half of the time only in the header, which holds sizes and offsets.
    end = len(content) if generator.random() < 0.5 else min(len(content), 200)
    place = int(generator.integers(0, end - 4))
    if kind == "flip":
        content[place] ^= 1 << int(generator.integers(8))
    elif kind == "head":
        content[place] = int(generator.integers(256))
    elif kind == "number":
        content[place : place + 4] = [b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff"][
            int(generator.integers(3))
        ]
    elif kind == "truncate":
        del content[place + 1 :]
    elif kind == "splice":
        other = files[int(generator.integers(len(files)))]
        content[place:] = other[int(generator.integers(len(other))) :]
    else:
        content[place:place] = content[place : place + 64] * int(generator.integers(1, 200))
    return content


def attack(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Reads damaged files; returns the number of each outcome, and every raw error."""
    outcomes, errors = Counter(), []
    path = folder / "picture"
    for number, content in enumerate(mutated(seeds(), count, seed)):
        path.write_bytes(content)
        try:
            image = read_image(path, SHAPE)
            fine = image.shape == SHAPE and ((image >= 0) & (image <= 1)).all()
            outcomes["read" if fine else "wrong"] += 1
        except PictureError:
            outcomes["refused"] += 1
        except Exception as error:
            outcomes["raw"] += 1
            errors.append(f"file {number}: {type(error).__name__}: {error}")
    return outcomes, errors


def watch_processes() -> list[str]:
    """Returns a list to which every program started from now on is added."""
    started = []

    def audit(event: str, arguments: tuple) -> None:
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
            started.append(f"{event} {arguments[:1]}")

    sys.addaudithook(audit)
    return started


@contextlib.contextmanager
def quiet_libtiff() -> Iterator[None]:
    """Silences libtiff, whose C code writes its complaints to the process's stderr."""
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged pictures against the reader.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    started = watch_processes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with tempfile.TemporaryDirectory() as folder, quiet_libtiff():
        outcomes, errors = attack(arguments.count, arguments.seed, Path(folder))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before
    print("\n".join([*errors, *started]), end="\n" if errors or started else "")
    print(
        f"{arguments.count} damaged pictures: {outcomes['read']} read, {outcomes['refused']} "
        f"refused, {outcomes['raw'] + outcomes['wrong']} raw errors or wrong pixels, "
        f"{len(started)} programs started, memory grew by {grown} MiB (limit {MEMORY_LIMIT})"
    )
    return 1 if errors or started or outcomes["wrong"] or grown > MEMORY_LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
