"""Tasks whose classes depend on marks by construction, each in a known direction.

A task has kinds of marks and a design matrix. The design score of a class is the sum over the
marks of the matrix's entry times the mark's strength; the class of an image is the one with the
highest score, by at least `GAP`. So it is known for every mark and every pair of classes whether
the mark separates them, and in which direction.

A network is trained on the softmax of the scores times `SHARPNESS`. Cross-entropy with these soft
labels is lowest exactly for logits equal to the scores times `SHARPNESS` (plus any function of the
image that is the same for all classes): the design then is what training asks for, in sign and in
size, for all rivals and not only for the closest.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

GAP = 0.08
SHARPNESS = 16.0
WEAKEST, STRONGEST = 0.1, 0.35
ABSENT_SHARE = 0.25
# To take away a mark fainter than this changes too little for a network to be asked about it.
_FAINTEST = 0.06
NUMBERS = 24
"""How many random numbers a task's strengths are made of, at most."""

_GRAY = (1.0, 1.0, 1.0)
_RED, _BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


class Kind(NamedTuple):
    """A kind of mark: every image has a place for one mark of each kind."""

    shape: str
    color: tuple[float, float, float] = _GRAY
    sign: int = 1
    """1 for bright marks, -1 for dark ones."""
    quadrant: int | None = None
    """The quarter of the image that it stands in; None for anywhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Which marks there are, and what they say.

    Attributes:
      name: of the task.
      about: what the class depends on.
      kinds: of marks; those whose column in the design is zero are decoys.
      design: `[k, kinds]`, what a mark's strength adds to the score of each class.
      strengths: `strengths(numbers, label) -> [kinds]`, of the marks that are not decoys, so that
        `label` has the highest score by at least `GAP`; from `NUMBERS` numbers between 0 and 1.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...]
    design: np.ndarray
    strengths: Callable[[Array, Array], Array]

    @property
    def classes(self) -> int:
        """How many classes there are; four in each of `TASKS`, so that networks compile once."""
        return len(self.design)

    @property
    def signs(self) -> np.ndarray:
        """The direction of each kind, `[kinds]`."""
        return np.asarray([kind.sign for kind in self.kinds], np.float32)


def spread(numbers: Array, least: float | Array, most: float | Array) -> Array:
    """Numbers between `least` and `most`, of such between 0 and 1."""
    return least + (most - least) * numbers


def _above(numbers: Array, label: Array, count: int) -> Array:
    """Strengths of `count` marks: that of `label` the highest, others lower or not there."""
    highest = spread(numbers[0], WEAKEST + GAP, STRONGEST)
    others = spread(numbers[1 : 1 + count], WEAKEST, highest - GAP)
    others *= numbers[1 + count : 1 + 2 * count] >= ABSENT_SHARE
    return jnp.where(jnp.arange(count) == label, highest, others)


def _strongest(count: int) -> Callable[[Array, Array], Array]:
    return lambda numbers, label: _above(numbers, label, count)


def _one_is_absent(numbers: Array, label: Array) -> Array:
    return jnp.where(jnp.arange(4) == label, 0.0, spread(numbers[:4], WEAKEST, STRONGEST))


def _two_choices(numbers: Array, label: Array) -> Array:
    return jnp.concatenate([_above(numbers, label // 2, 2), _above(numbers[5:], label % 2, 2)])


def _differences(numbers: Array, label: Array) -> Array:
    """Four red marks and their blue twins, which say nothing of the class alone.

    The twins are drawn before the class matters. Marks of either color may be missing, red may be
    weaker than its twin, and both have their whole range: where a network never sees a mark without
    its twin, it is free to do anything there, and interventions ask for exactly that.
    """
    first, second, third, fourth = numbers[1:17].reshape(4, 4)
    blue = spread(first, WEAKEST, 0.2) * (second >= ABSENT_SHARE)
    at = jnp.arange(4) == label
    highest = spread(numbers[0], GAP + 0.01, STRONGEST - jnp.where(at, blue, 0).sum())
    most = jnp.minimum(highest - GAP + blue, STRONGEST)
    there = (fourth >= ABSENT_SHARE) & (most >= _FAINTEST)
    red = jnp.where(at, highest + blue, spread(third, _FAINTEST, most) * there)
    return jnp.concatenate([red, blue])


_DECOYS = (Kind("stripes"), Kind("checker", sign=-1))
_EYE = np.eye(4, dtype=np.float32)
_FOUR = ("square", "corners", "caps", "sides")


def _task(
    name: str,
    about: str,
    kinds: tuple[Kind, ...],
    design: np.ndarray,
    strengths: Callable[[Array, Array], Array],
    decoys: tuple[Kind, ...] = _DECOYS,
) -> Task:
    zeros = np.zeros((len(design), len(decoys)), np.float32)
    return Task(name, about, kinds + decoys, np.concatenate([design, zeros], 1), strengths)


_ALL = (
    _task(
        "bright",
        "the shape of the brightest mark",
        tuple(Kind(shape) for shape in _FOUR),
        _EYE,
        _strongest(4),
    ),
    _task(
        "dark",
        "the shape of the darkest mark",
        tuple(Kind(shape, sign=-1) for shape in _FOUR),
        _EYE,
        _strongest(4),
    ),
    _task(
        "color",
        "the color and sign of the strongest square",
        tuple(Kind("square", color, sign) for sign in (1, -1) for color in (_RED, _BLUE)),
        _EYE,
        _strongest(4),
        (Kind("square"), Kind("square", sign=-1)),
    ),
    _task(
        "absence",
        "which of four marks is not there",
        tuple(Kind(shape) for shape in _FOUR),
        -_EYE,
        _one_is_absent,
    ),
    _task(
        "position",
        "the quarter with the brightest square",
        tuple(Kind("square", quadrant=quadrant) for quadrant in range(4)),
        _EYE,
        _strongest(4),
    ),
    _task(
        "shared",
        "the brighter of two marks, and the brighter of two others",
        tuple(Kind(shape) for shape in _FOUR),
        np.asarray([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]], np.float32),
        _two_choices,
    ),
    _task(
        "suppressor",
        "the shape of the red mark that exceeds its blue twin the most",
        tuple(Kind(shape, color) for color in (_RED, _BLUE) for shape in _FOUR),
        np.concatenate([_EYE, -_EYE], 1),
        _differences,
    ),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}
"""The tasks by name."""
