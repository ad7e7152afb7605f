"""The classes that `signsal explain` compares a target with, and the backward passes they take."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from signsal_jax._methods import needs_rivals
from signsal_jax.gradients import Cut, Estimator, choose_cut
from signsal_jax.models import Model


@runtime_checkable
class Comparison(Protocol):
    """The options that decide, see `Explain`."""

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def rivals(self) -> tuple[str, ...]: ...
    @property
    def through(self) -> str: ...
    def make_estimator(self) -> Estimator: ...


def chosen_cut(options: Comparison, model: Model, images: int) -> Cut | None:
    """Returns what the gradients of all classes are computed through, so many images at a time.

    Raises:
      ValueError: --through features of a network or an estimator that has none.
    """
    if not needs_rivals(options.methods):
        return None
    return choose_cut(
        options.through,
        model.apply_fn,
        model.variables,
        np.zeros((images, *model.input_shape), np.float32),
        rivals=compared_classes(options.rivals, model),
        output="logits",
        estimator=options.make_estimator(),
    )


def backward_passes(options: Comparison, model: Model, cut: Cut | None) -> int:
    """Returns the number of backward passes per picture."""
    if not needs_rivals(options.methods):
        return 1
    if cut is not None:
        return cut.width
    rivals = compared_classes(options.rivals, model)
    if isinstance(rivals, str):
        return len(model.class_names)
    return 1 + (rivals if isinstance(rivals, int) else len(rivals))


def compared_classes(rivals: Sequence[str], model: Model) -> str | int | list[int]:
    """Returns the option --rivals as `saliency_maps` takes them.

    Raises:
      ValueError: a class that the network does not have, named twice, or too many.
    """
    names, classes = model.class_names, len(model.class_names)
    if tuple(rivals) == ("all",):
        return "all"
    if len(rivals) == 1 and rivals[0] not in names and rivals[0].isdecimal():
        count = int(rivals[0])
        if not 1 <= count < classes:
            raise ValueError(f"--rivals: expected from 1 to {classes - 1}, got {count}")
        return count
    found = []
    for rival in rivals:
        if rival in names:
            found.append(names.index(rival))
        elif rival.isdecimal() and int(rival) < classes:
            found.append(int(rival))
        else:
            raise ValueError(
                f"--rivals: expected all, a number, or classes of the network, got {rival!r}"
            )
    if not found or len(set(found)) < len(found):
        raise ValueError(f"--rivals: expected each class once, got {' '.join(rivals)}")
    return found
