"""Matching of a data set's classes to a network's, by name or WordNet id."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from signsal_jax.data import fingerprint
from signsal_jax.data.dataset import Dataset
from signsal_jax.data.reading import Source

# Also matches the beginning of a longer name, such as n02085620-Chihuahua.
_WORDNET_ID = re.compile(r"n\d{8}(?!\d)")
_SHOWN = 10


@functools.cache
def wordnet_names() -> dict[str, str]:
    """The English names of ImageNet's 1000 classes by WordNet id, in the networks' order.

    >>> from signsal_jax import data
    >>> data.wordnet_names()["n01440764"]
    'tench'
    """
    folder = resources.files("signsal_jax.models")
    ids, names = (
        (folder / file).read_text().splitlines()
        for file in ("imagenet_wordnet_ids.txt", "imagenet_classes.txt")
    )
    return dict(zip(ids, names, strict=True))


def display_name(class_name: str) -> str:
    """A readable class name: the English name for a WordNet id of ImageNet, else the name itself.

    >>> from signsal_jax import data
    >>> data.display_name("n01440764"), data.display_name("cat")
    ('tench', 'cat')
    """
    found = _WORDNET_ID.match(class_name)
    return wordnet_names().get(found[0], class_name) if found else class_name


def _key(class_name: str) -> str:
    """Normalizes a class name: ignores case; spaces, underscores and hyphens are alike."""
    return re.sub(r"[\s_-]+", " ", display_name(class_name)).strip().casefold()


class _Relabelled:
    """A source with its labels replaced by indices of other classes."""

    def __init__(self, source: Source, labels: np.ndarray):
        self.source, self.labels = source, labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.source[index]
        return image, int(self.labels[label])

    def fingerprint(self) -> dict[str, Any]:
        return {**fingerprint.of_source(self.source), "classes": self.labels.tolist()}


def match_classes(dataset: Dataset, class_names: Sequence[str]) -> Dataset:
    """Relabels a data set with the indices of a network's classes.

    Classes match by name, by WordNet id (ImageNet's 1000, also at the beginning of a longer
    name), or a name on one side and an id on the other. Case does not count; spaces, underscores
    and hyphens are alike. If the set's class names are numbers, they are indices of the network's
    classes. If only the network's are, the set must have as many classes, in the same order. A set
    without labels is returned unchanged.

    Args:
      dataset: with any subset of the network's classes.
      class_names: the name of every logit.

    Returns:
      `Dataset` with the network's `class_names`, whose labels are indices of logits.

    Raises:
      ValueError: classes that match none of the network's or several; the message lists them.

    >>> import numpy as np
    >>> from signsal_jax import data
    >>> source = data.Arrays(np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1]))
    >>> dataset = data.Dataset("pets", "all", ("Dog", "guinea_pig"), (1, 1, 3), source)
    >>> matched = data.match_classes(dataset, ["cat", "dog", "guinea pig"])
    >>> matched[0][1], matched[1][1]
    (1, 2)
    """
    class_names = tuple(class_names)
    if not dataset.labelled or dataset.class_names == class_names:
        return dataset
    indices = _indices(dataset, class_names)
    return dataclasses.replace(
        dataset, class_names=class_names, source=_Relabelled(dataset.source, indices)
    )


def _indices(dataset: Dataset, class_names: tuple[str, ...]) -> np.ndarray:
    """For each class of the data set, its index among the network's classes."""
    own, expected = dataset.class_names, f"one of the network's {len(class_names)} classes"
    if _are_numbers(class_names) and not _are_numbers(own):
        if len(own) != len(class_names):
            raise ValueError(
                f"data set {dataset.name}: expected {len(class_names)} classes like the network, "
                f"whose classes have no names to match, got {len(own)}"
            )
        return np.arange(len(own))
    places: dict[str, list[int]] = {}
    for index, name in enumerate(class_names):
        places.setdefault(_key(name), []).append(index)
    if _are_numbers(own) and not _are_numbers(class_names):
        places = {str(index): [index] for index in range(len(class_names))}
    found = {name: places.get(_key(name), []) for name in own}
    wrong = [name for name, indices in found.items() if len(indices) != 1]
    if wrong:
        shown = ", ".join(_described(name, found[name], places) for name in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ValueError(
            f"data set {dataset.name}: expected each class to be {expected}, by name or WordNet "
            f"id; {len(wrong)} of {len(own)} are not: {shown}{more}"
        )
    return np.asarray([found[name][0] for name in own])


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _described(name: str, indices: list[int], places: dict[str, list[int]]) -> str:
    if indices:
        return f"{name!r} (several of this name: {', '.join(map(str, indices))})"
    close = difflib.get_close_matches(_key(name), places, 1)
    return f"{name!r} (similar: {close[0]!r})" if close else repr(name)
