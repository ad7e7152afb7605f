"""Example images with their maps: computed while the network is at hand, kept for the figure."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from signsal_jax import _files, data
from signsal_jax.brightness import brightness_maps
from signsal_jax.gradients import class_extrema, has_sign
from signsal_jax.maps import METHODS, maps_from_extrema
from signsal_jax.models import Model
from signsal_jax.report.explorer import ClassGradients, class_gradients, from_arrays, to_arrays
from signsal_jax.report.summary import read_rows
from signsal_jax.study import JoinedSplits, Store, StudyConfig

MOST_EXAMPLES = 20
EXAMPLES = "examples.npz"
_SIGNED, _CLASSES = "signed: ", "classes: "
_UNKNOWN = -1
_DRAWN = (1, 3)
"""Channels of what can be shown as a picture."""


class Example(NamedTuple):
    """One image with its maps, as a row of the paper's figure.

    Attributes:
      image: `[h, w, c]`, pixels in [0, 1].
      title: written beside the row.
      maps: by name `[h, w]`, in [0, 1].
      signed: by name `[h, w]`, see `brightness_maps`; None for an estimator without sign.
      classes: what the explorer shows besides; None if it was not computed.
      number: of the image in its study; None if it is of none.
    """

    image: np.ndarray
    title: str
    maps: dict[str, np.ndarray]
    signed: dict[str, np.ndarray] | None = None
    classes: ClassGradients | None = None
    number: int | None = None


def example_images(store: Store) -> list[int]:
    """The first correctly classified image of each class, of the first 20 classes that have one."""
    labels, predicted, valid = (read_rows(store, name) for name in ("label", "predicted", "valid"))
    correct = np.flatnonzero(valid & (labels == predicted))
    _, first = np.unique(labels[correct], return_index=True)
    return store.available()[correct[first]][:MOST_EXAMPLES].tolist()


def compute_examples(store: Store, model: Model, splits: Sequence[data.Dataset]) -> list[Example]:
    """The maps of `example_images`, with the study's settings.

    Args:
      store: the study.
      model: its network.
      splits: its data.

    Returns:
      The examples; none where images are neither gray nor RGB.
    """
    config, images = StudyConfig().replaced(store.manifest["config"]), JoinedSplits(splits)
    numbers = example_images(store)
    rows = [images[number] for number in numbers]
    if not rows or model.input_shape[2] not in _DRAWN:
        return []
    pixels = data.to_float(np.stack([image for image, _ in rows]))
    logits, targets, maps, signed = jax.device_get(_maps(model, pixels, config))
    estimator = config.make_estimator()
    of_image = class_gradients(model, estimator=estimator, precision=config.precision)
    examples = []
    for place, (_, label) in enumerate(rows):
        own = {method: maps[method][place] for method in METHODS}
        examples.append(
            Example(
                pixels[place],
                data.display_name(model.class_names[label]),
                own,
                {name: values[place] for name, values in signed.items()} or None,
                of_image(pixels[place], logits[place], int(targets[place]), own),
                numbers[place],
            )
        )
    return examples


def _maps(model: Model, pixels: np.ndarray, config: StudyConfig) -> Any:
    estimator = config.make_estimator()

    @jax.jit
    def step(variables: Any, images: jax.Array) -> Any:
        extrema = class_extrema(
            model.apply_fn,
            variables,
            images,
            class_chunk=config.class_chunk,
            precision=config.precision,
            estimator=estimator,
        )
        signed = brightness_maps(extrema) if has_sign(estimator) else {}
        return extrema.logits, extrema.target, maps_from_extrema(extrema).maps, signed

    return step(model.variables, pixels)


def save_examples(store: Store, examples: Sequence[Example], folder: Path) -> None:
    """Keeps examples for later reports, with a mark of the study that they are of."""
    arrays = {
        "study": np.asarray(_mark(store)),
        "images": np.stack([example.image for example in examples]),
        "titles": np.asarray([example.title for example in examples]),
        "numbers": np.asarray([_UNKNOWN if e.number is None else e.number for e in examples]),
        **{method: np.stack([example.maps[method] for example in examples]) for method in METHODS},
        **{
            f"{_SIGNED}{name}": np.stack([(example.signed or {})[name] for example in examples])
            for name in examples[0].signed or {}
        },
    }
    for place, example in enumerate(examples):
        if example.classes is not None:
            found = to_arrays(example.classes)
            arrays |= {f"{_CLASSES}{place} {name}": value for name, value in found.items()}
    _files.write_atomically(
        folder / EXAMPLES, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays)
    )


def load_examples(store: Store, folder: Path) -> list[Example]:
    """The examples of this very study that a folder keeps; none where it keeps none."""
    if not (folder / EXAMPLES).exists():
        return []
    with np.load(folder / EXAMPLES, allow_pickle=False) as arrays:
        if str(arrays["study"]) != _mark(store):
            return []
        maps = {method: arrays[method] for method in METHODS}
        signed = {
            name.removeprefix(_SIGNED): arrays[name]
            for name in arrays.files
            if name.startswith(_SIGNED)
        }
        found = [
            {
                name.removeprefix(prefix): arrays[name]
                for name in arrays.files
                if name.startswith(prefix)
            }
            for prefix in (f"{_CLASSES}{place} " for place in range(len(arrays["titles"])))
        ]
        count = len(arrays["titles"])
        # Earlier files say nothing of them.
        known = "numbers" in arrays.files
        numbers = arrays["numbers"].tolist() if known else [_UNKNOWN] * count
        return [
            Example(
                image,
                str(title),
                {method: maps[method][place] for method in METHODS},
                {name: values[place] for name, values in signed.items()} or None,
                from_arrays(found[place]) if found[place] else None,
                None if numbers[place] == _UNKNOWN else numbers[place],
            )
            for place, (image, title) in enumerate(
                zip(arrays["images"], arrays["titles"], strict=True)
            )
        ]


def _mark(store: Store) -> str:
    text = json.dumps(store.manifest, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
