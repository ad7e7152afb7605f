"""Takes the documentation's two pictures of the explorer, with Debian's chromium.

    pip install -e '.[all,demo]' && python scripts/explorer_figures.py --data-dir DIR

Explains the four photographs of `scripts/demo_photos.sh` and evaluates cnn-cifar10 on 200 test
images, with small steps; DIR holds CIFAR-10 as TFDS prepares it. Writes
docs/figures/explorer-photo.jpg and explorer-evaluation.jpg, and prints the size of each page. Takes
some ten minutes of processor time.
"""

import dataclasses
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import skimage
import tyro
from PIL import Image

from scripts.methods_figure import PHOTOS
from signsal_jax import _files, cli

# What each page shows, as its address says it.
PHOTO_VIEW = "image=0&row=112&column=100&order=positive&fill=blur&share=4"
EVALUATION_VIEW = "image=3&row=13&column=12&order=positive&fill=black&share=2&steps=positive"


@dataclasses.dataclass(frozen=True)
class Figures:
    """Take the documentation's pictures of the explorer."""

    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    out: Path = Path(__file__).parents[1] / "docs" / "figures"
    """Folder for the pictures."""


def command(*arguments: Any) -> None:
    """Runs a signsal command; ends this program where it fails."""
    if status := cli.main([str(argument) for argument in arguments]):
        sys.exit(status)


def take(page: Path, view: str, picture: Path, *, height: int, dark: bool = False) -> None:
    """Opens a page at a view and keeps what a window of 1340 x `height` shows, as JPEG."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("chromium: not found; apt-get install chromium")
    shot = page.with_suffix(".png")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--force-dark-mode"] if dark else []
    subprocess.run(
        [
            *(chromium, *flags),
            *(f"--window-size=1340,{height}", "--virtual-time-budget=5000"),
            *(f"--screenshot={shot}", f"{page.resolve().as_uri()}#{view}"),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(shot) as image:
        pixels = image.convert("RGB")
    _files.write_atomically(picture, lambda path: pixels.save(path, format="JPEG", quality=88))
    print(f"{picture}: of a page of {page.stat().st_size / 1e6:.1f} MB")


def main(options: Figures) -> None:
    """Makes both pages in a temporary folder and takes their pictures."""
    folder = Path(skimage.__file__).parent / "data"
    data = [] if options.data_dir is None else ["--data-dir", options.data_dir]
    with tempfile.TemporaryDirectory() as temporary:
        photos, cifar = Path(temporary) / "photos", Path(temporary) / "cifar"
        pictures = [folder / name for name in PHOTOS]
        command("explain", *pictures, "--model", "efficientnet_lite0", "--out", photos)
        command("report", photos)
        take(photos / "explorer.html", PHOTO_VIEW, options.out / "explorer-photo.jpg", height=1120)
        network = ["--model", "cnn-cifar10", "--dataset", "cifar10", "--images", 200]
        kept = ["--store", "deletion", "controls", "small_step"]
        command("evaluate", *network, *kept, *data, "--out", cifar)
        take(
            cifar / "explorer.html",
            EVALUATION_VIEW,
            options.out / "explorer-evaluation.jpg",
            height=1400,
            dark=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Figures, description=__doc__))
