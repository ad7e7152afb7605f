"""Networks with the weights that come in the package."""

import json
from importlib import resources
from typing import Any, NamedTuple

from flax import nnx

from signsal_jax import _checks
from signsal_jax._types import ApplyFn
from signsal_jax.models.functional import from_nnx
from signsal_jax.models.registry import create

PACKAGED = ("cnn-cifar10",)


class Model(NamedTuple):
    """A classifier ready to be explained: `saliency_maps(model.apply_fn, model.variables, ...)`.

    Attributes:
      apply_fn: `apply_fn(variables, images) -> logits`.
      variables: its weights.
      class_names: the name of every logit.
      input_shape: (height, width, channels) that the weights were trained with.
    """

    apply_fn: ApplyFn
    variables: Any
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]



def load(name):
    raise NotImplementedError
