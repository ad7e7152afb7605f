"""Shared array types and the contract between a classifier and this library."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax import Array
from jaxtyping import Float, Int

AnyArray = Array | np.ndarray

Images = Float[AnyArray, "b h w c"]
"""Pixels in [0, 1], channels last."""
Logits = Float[Array, "b k"]
"""One score per class, before softmax."""
ClassGradients = Float[Array, "b m h w c"]
"""Signed input gradients of `m` classes: the (partial) input Jacobian."""
Gradients = Float[Array, "b h w c"]
"""The signed input gradient of one class per image."""

Variables = Any
"""A pytree of arrays: whatever `apply_fn` takes as its first argument."""


@runtime_checkable
class ApplyFn(Protocol):
    """A classifier as a pure function: `apply_fn(variables, images) -> logits`.

    Images are float `[b, h, w, c]` in [0, 1], logits float `[b, k]`. Preprocessing belongs inside
    this function, so that gradients, black (0) and white (1) refer to pixel values. Each image's
    logits must depend on that image alone (batch norm in inference mode). Any batch size must be
    accepted: deletion classifies several copies of a batch at once.
    """

    def __call__(self, variables: Any, images: Any, /) -> Array: ...


class ClassExtrema(NamedTuple):
    """The parts of an input Jacobian that the maps need (see `class_extrema`)."""

    logits: Logits
    target: Int[Array, " b"]
    gradient: Gradients
    highest: Gradients | None = None
    highest_class: Int[Array, "b h w c"] | None = None
    lowest: Gradients | None = None
    lowest_class: Int[Array, "b h w c"] | None = None
    rivals: Int[Array, "b r"] | None = None
    contrasts: Mapping[str, Gradients] | None = None
