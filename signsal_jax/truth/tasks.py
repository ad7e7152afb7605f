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

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from signsal_jax import _checks
from signsal_jax.truth.render import CELL, CELLS, SHAPES, SIZE, Scene, texture

GAP = 0.08
SHARPNESS = 16.0
WEAKEST, STRONGEST = 0.1, 0.35
_ABSENT_SHARE = 0.25
SPLITS = ("train", "test")

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


class Sample(NamedTuple):
    """A scene and its class.

    Attributes:
      scene: its marks stand in the order of the task's kinds.
      label: the class.
      scores: the design scores of the classes, `[k]`.
    """

    scene: Scene
    label: Int[Array, ""]
    scores: Float[Array, " k"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Which marks there are, and what they say.

    Attributes:
      name: of the task.
      about: what the class depends on.
      kinds: of marks; those whose column in the design is zero are decoys.
      design: `[k, kinds]`, what a mark's strength adds to the score of each class.
      strengths: `strengths(key, label) -> [kinds]`, of the marks that are not decoys, so that
        `label` has the highest score by at least `GAP`.
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


def _above(key: Array, label: Array, count: int) -> Array:
    """Strengths of `count` marks: that of `label` the highest, others lower or not there."""
    top, rest, there = jax.random.split(key, 3)
    highest = jax.random.uniform(top, (), minval=WEAKEST + GAP, maxval=STRONGEST)
    others = WEAKEST + (highest - GAP - WEAKEST) * jax.random.uniform(rest, (count,))
    others *= jax.random.bernoulli(there, 1 - _ABSENT_SHARE, (count,))
    return jnp.where(jnp.arange(count) == label, highest, others)


def _strongest(count: int) -> Callable[[Array, Array], Array]:
    return lambda key, label: _above(key, label, count)


def _one_is_absent(key: Array, label: Array) -> Array:
    others = jax.random.uniform(key, (4,), minval=WEAKEST, maxval=STRONGEST)
    return jnp.where(jnp.arange(4) == label, 0.0, others)


def _two_choices(key: Array, label: Array) -> Array:
    first, second = jax.random.split(key)
    return jnp.concatenate([_above(first, label // 2, 2), _above(second, label % 2, 2)])


def _differences(key: Array, label: Array) -> Array:
    """Four signals, hidden by distractors of about their size, and the distractors alone."""
    top, rest, hiding = jax.random.split(key, 3)
    highest = jax.random.uniform(top, (), minval=0.09, maxval=0.14)
    others = jax.random.uniform(rest, (4,)) * (highest - GAP)
    signal = jnp.where(jnp.arange(4) == label, highest, others)
    distractor = jax.random.uniform(hiding, (4,), minval=WEAKEST, maxval=0.2)
    return jnp.concatenate([signal + distractor, distractor])


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


def _places(task: Task, key: Array) -> Array:
    """Draws a different cell for each mark, within its quarter if it has one."""
    order = jax.random.uniform(key, (CELLS,))
    side = SIZE // CELL
    row, column = np.divmod(np.arange(CELLS), side)
    quadrant = row // (side // 2) * 2 + column // (side // 2)
    taken, cells = jnp.zeros(CELLS, bool), []
    # Those that are bound to a quarter choose first.
    for index in sorted(range(len(task.kinds)), key=lambda i: task.kinds[i].quadrant is None):
        wanted = task.kinds[index].quadrant
        allowed = np.ones(CELLS, bool) if wanted is None else quadrant == wanted
        cell = jnp.where(allowed & ~taken, order, 2.0).argmin()
        taken = taken.at[cell].set(True)
        cells.append((index, cell))
    return jnp.stack([cell for _, cell in sorted(cells, key=lambda pair: pair[0])])


def sample(task: Task, key: Array) -> Sample:
    """Draws a scene of a task and its class.

    Args:
      task: one of `TASKS`.
      key: a `jax.random` key; the same key gives the same scene.

    Returns:
      `Sample`.

    >>> import jax
    >>> from signsal_jax import truth
    >>> drawn = truth.sample(truth.TASKS["shared"], jax.random.key(0))
    >>> drawn.scene.amplitude.shape, int(drawn.label) == int(drawn.scores.argmax())
    ((6,), True)
    """
    classes, strengths, decoys, places, textures, there = jax.random.split(key, 6)
    label = jax.random.randint(classes, (), 0, task.classes)
    told = task.strengths(strengths, label)
    untold = len(task.kinds) - len(told)
    others = jax.random.uniform(decoys, (untold,), minval=WEAKEST, maxval=STRONGEST)
    others *= jax.random.bernoulli(there, 1 - _ABSENT_SHARE, (untold,))
    strength = jnp.concatenate([told, others])
    scene = Scene(
        background=texture(textures),
        shape=jnp.asarray([SHAPES.index(kind.shape) for kind in task.kinds]),
        cell=_places(task, places),
        color=jnp.asarray([kind.color for kind in task.kinds], jnp.float32),
        amplitude=strength * jnp.asarray(task.signs),
    )
    scores = (jnp.asarray(task.design) * strength[None]).sum(1)
    return Sample(scene, label, scores)


def keys_of(split: str, indices: Int[Array, " n"], stream: int = 0) -> Array:
    """Returns one key per index of a split; the splits and their streams have no key in common.

    Args:
      split: "train" or "test".
      indices: `[n]`, from 0.
      stream: another sequence of the same split, such as one for each training run.

    Raises:
      ValueError: an unknown split.
    """
    _checks.check_member("split", split, SPLITS)
    start = jax.random.fold_in(jax.random.key(SPLITS.index(split)), stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(start, indices)


def batch(task: Task, split: str, start: int | Array, count: int, stream: int = 0) -> Sample:
    """Draws the samples `start` to `start + count - 1` of a split.

    Args:
      task: one of `TASKS`.
      split: "train" or "test": these have no key in common.
      start: the number of the first sample.
      count: how many, known when tracing.
      stream: see `keys_of`.

    Returns:
      `Sample`, each array with a batch axis in front.

    >>> from signsal_jax import truth
    >>> truth.batch(truth.TASKS["color"], "test", 0, 3).label.shape
    (3,)
    """
    keys = keys_of(split, start + jnp.arange(count), stream)
    return jax.vmap(lambda key: sample(task, key))(keys)
