"""Folders of pictures: a subfolder per class, or pictures without labels."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from signsal_jax.data import fingerprint
from signsal_jax.data.dataset import Dataset
from signsal_jax.data.photos import PictureError, printable, read_image
from signsal_jax.data.reading import UnreadableImageError


class Pictures:
    """Picture files and their labels, read on access, cropped and scaled to one shape."""

    def __init__(
        self,
        root: Path,
        files: list[tuple[Path, int]],
        shape: tuple[int, int, int],
        photos: Mapping[str, Any],
    ):
        self.root, self.files, self.shape, self.photos = root, files, shape, photos

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        try:
            pixels = read_image(path, self.shape, **self.photos)
        except (PictureError, OSError) as error:
            name = printable(path.relative_to(self.root))
            # Only the cause: the message of `read_image` would repeat the path.
            reason = printable(str(error.__cause__ or error))
            raise UnreadableImageError(name, self.shape, reason) from error
        # The pixels were bytes divided by 255; rounding recovers them exactly.
        return np.round(pixels * 255).astype(np.uint8), label

    def fingerprint(self) -> dict[str, Any]:
        listing = fingerprint.of_listing(self.root, (path for path, _ in self.files))
        return {**listing, **self.photos}


def load_folder(
    path: Path, shape: tuple[int, int, int], photos: Mapping[str, Any] | None = None
) -> Dataset:
    """Loads the pictures of a folder, see `data.load`.

    Each subfolder is a class of that name: files at any depth in it count, files beside the
    subfolders do not. Without subfolders, the pictures have no labels. Hidden files are skipped.
    Pictures are ordered by name.
    """
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir() and not _hidden(entry))
    if classes:
        files = [(file, label) for label, folder in enumerate(classes) for file in files_in(folder)]
    else:
        files = [(file, -1) for file in files_in(path)]
    if not files:
        raise ValueError(f"data set {printable(path)}: expected pictures, got none in the folder")
    return Dataset(
        name=printable(path.resolve().name),
        split="all",
        class_names=tuple(printable(folder.name) for folder in classes),
        image_shape=shape,
        source=Pictures(path, files, shape, photos or {}),
    )


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def files_in(folder: Path) -> list[Path]:
    """The files of a folder at any depth, ordered by name, without hidden ones."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return found
