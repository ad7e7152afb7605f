"""The arrays of a study that are the same for all images: one file each, with its checksum."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from signsal_jax.study._arrays import ARRAYS, open_in_chunks
from signsal_jax.study._place import Folder, StudyError


def read_constant(folder: Folder, name: str, spec: Mapping[str, Any]) -> np.ndarray:
    """Reads an array.

    Raises:
      StudyError: it is missing or damaged.
    """
    opened = open_in_chunks(folder, name, spec, spec["shape"], create=False)
    try:
        return opened.read().result()
    except ValueError as error:
        raise StudyError(
            f"{folder}/{ARRAYS}/{name}: missing or damaged. Run the study again: it is made anew, "
            f"and every committed chunk is kept ({error})"
        ) from error


def write_constant(folder: Folder, name: str, spec: Mapping[str, Any], values: np.ndarray) -> None:
    """Writes an array where it is missing or damaged; every worker of a study may."""
    opened = open_in_chunks(folder, name, spec, spec["shape"], create=True)
    try:
        opened.read().result()
    except ValueError:
        opened.write(values).result()
