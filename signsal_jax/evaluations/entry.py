"""One row of the table of results that a study can store: its arrays, their functions and means.

A new evaluation is an `Entry` in a file of its own, listed in `registry`. The study's step calls
its function at one of five points, and computes no more than the chosen entries need:

| function | called | takes | gives |
|---|---|---|---|
| `of_image` | once per batch, after the gradients | `Explained` | its arrays by name `[b, ...]` |
| `of_class` | per chunk of classes | the chunk's gradients `[m, b, h, w, c]` | `[b, m]` |
| `of_pair` | per two chunks of classes | both chunks' gradients | `[b, m, n]` |
| `of_features` | per group of images, through the features | `Factors` | its arrays `[b, ...]` |
| `of_network` | once per batch, after the maps | `Classified` | its arrays by name, and `valid` |

All these functions are pure and run on the device under one jit.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Logits, Variables
from signsal_jax.gradients import Factors
from signsal_jax.maps import Saliency

ClassRows = Float[Array, "_ b h w c"]
Explain = Callable[[Variables, Images, Int[Array, " b"]], ClassExtrema]
MAPS, EXTREMA, LINEAR, GRADIENTS = "maps", "extrema", "linear", "gradients"


@runtime_checkable
class Options(Protocol):
    """The settings that entries read; `StudyConfig` has them."""

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def curves(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def fractions(self) -> tuple[float, ...]: ...
    @property
    def rule(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def control_seed(self) -> int: ...
    @property
    def control_orders(self) -> int: ...
    @property
    def step_share(self) -> float: ...
    @property
    def epsilons(self) -> tuple[float, ...]: ...


class Sizes(NamedTuple):
    """The sizes of arrays that do not follow from the options."""

    height: int
    width: int
    classes: int
    features: int | None = None
    """The features whose Gram matrix is stored in place of the classes', see `small_gram`."""


class ArraySpec(NamedTuple):
    """One stored array: its type, its dimensions after the image, and their sizes."""

    dtype: str
    dimensions: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Of one image."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


def labelled(
    name: str, labels: Callable[[Options], Mapping[str, Sequence[Any]]]
) -> Callable[[Options, Sizes], Mapping[str, ArraySpec]]:
    """The `arrays` of an entry with one float32 array, along all that its `labels` name."""

    def arrays(options: Options, _: Sizes) -> Mapping[str, ArraySpec]:
        found = labels(options)
        return {name: ArraySpec("float32", tuple(found), tuple(map(len, found.values())))}

    return arrays


class Explained(NamedTuple):
    """A batch and its gradients.

    Attributes:
      options: of the study.
      logits: `[b, k]`.
      extrema: the target's gradient, and those of all other classes where an entry needs
        them; None where none needs a gradient.
      saliency: the maps of `options.methods`, None where no entry needs maps.
    """

    options: Options
    logits: Logits
    extrema: ClassExtrema | None
    saliency: Saliency | None


class Classified(NamedTuple):
    """A batch with its maps, and the network to classify changed copies of it.

    Attributes:
      options: of the study.
      apply_fn: `apply_fn(variables, images) -> logits`.
      variables: the classifier's pytree of weights.
      images: `[b, h, w, c]`.
      predicted: the class of the unchanged images, `[b]`.
      maps: per method `[b, h, w]`.
      extrema: the batch's gradients and the class explained, None where no function of the
        network needs them.
      explain: the gradients of `(variables, images, target)` by the study's settings, for functions
        that change the weights or the images and explain again.
    """

    options: Options
    apply_fn: ApplyFn
    variables: Variables
    images: Images
    predicted: Int[Array, " b"]
    maps: Mapping[str, Float[Array, "b h w"]]
    extrema: ClassExtrema | None = None
    explain: Explain | None = None


class NetworkResult(NamedTuple):
    """Arrays by name, and `[b]`, whether they mean something (no logit was NaN)."""

    arrays: dict[str, Array]
    valid: Bool[Array, " b"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """The arrays that a study stores under one name."""

    name: str
    """The name that selects it in `StudyConfig.store`."""
    arrays: Callable[[Options, Sizes], Mapping[str, ArraySpec]]
    """The stored arrays, by name; an array of `of_class` or `of_pair` has the entry's name."""
    needs: frozenset[str] = frozenset()
    """Any of "maps" (of the study's methods), "extrema" (of all other classes' gradients),
    "linear" (gradients by an estimator that is linear in the class scores), and for a function of
    the network "gradients" (as `Classified.extrema`)."""
    of_image: Callable[[Explained], Mapping[str, Array]] | None = None
    of_class: Callable[[ClassRows], Float[Array, "b m"]] | None = None
    of_pair: Callable[[ClassRows, ClassRows], Float[Array, "b m n"]] | None = None
    of_network: Callable[[Classified], NetworkResult] | None = None
    of_features: Callable[[Factors], Mapping[str, Array]] | None = None
    """With `of_class` or `of_pair`: its arrays from the factors of all class gradients. An entry
    without is computed through the scores."""
    mean: tuple[str, ...] = ()
    """The arrays whose mean over valid images appears in the summary."""
    labels: Callable[[Options], Mapping[str, Sequence[Any]]] = lambda options: {}
    """The labels of the positions along a dimension, by the dimension's name."""

    def __post_init__(self) -> None:
        functions = (self.of_image, self.of_class, self.of_pair, self.of_network)
        if sum(function is not None for function in functions) != 1:
            raise ValueError(f"entry {self.name}: expected one of of_image, of_class, ...")
        for need in self.needs:
            _checks.check_member(
                f"entry {self.name}: needs", need, (MAPS, EXTREMA, LINEAR, GRADIENTS)
            )
