"""What is wrong with the files of a study: a line each, with the cure."""

from collections.abc import Iterable, Mapping
from typing import Any

from signsal_jax import _files
from signsal_jax.study._arrays import StudyArray
from signsal_jax.study._constants import read_constant
from signsal_jax.study._place import Folder, StudyError


def damaged_groups(arrays: Iterable[StudyArray], groups: Iterable[int]) -> list[str]:
    """Of the groups that are committed, those of which an array can't be read as it was."""
    found, groups = [], list(groups)
    for array in arrays:
        for group in groups:
            try:
                array.check(group)
            except StudyError as error:
                found.append(str(error))
    return found


def damaged_constants(folder: Folder, specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of the arrays that are the same for all images, those that are missing or damaged."""
    found = []
    for name, spec in specs.items():
        try:
            read_constant(folder, name, spec)
        except StudyError as error:
            found.append(str(error))
    return found


def differing(folder: Folder, expected: Mapping[str, Any]) -> list[str]:
    """Of the files that a study writes from others, those that don't say what they should."""
    return [
        f"{folder}/{name}: missing or damaged; no array depends on it. Run the study again: it is "
        "written anew"
        for name, value in expected.items()
        if folder.read([name])[0] != _files.json_text(value).encode()
    ]
