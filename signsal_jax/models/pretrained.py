"""Networks with the weights that come in the package."""

import json
from importlib import resources
from typing import Any, NamedTuple

import jax
from flax import nnx
from safetensors import safe_open

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


def flatten_variables(variables: Any) -> dict[str, Any]:
    """A pure dict of variables by dotted path, such as `blocks.0.convs.1.kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def load(name: str) -> Model:
    """A network with weights from the package, on this machine already.

    Args:
      name: "cnn-cifar10": the paper's Basic CNN trained on (JPEG-derived) CIFAR-10.

    Returns:
      `Model`: apply_fn, variables, class names and input shape.

    Raises:
      ValueError: an unknown name; the message lists the valid ones.

    >>> import signsal_jax
    >>> model = signsal_jax.models.load("cnn-cifar10")
    >>> model.input_shape, model.class_names[:2]
    ((32, 32, 3), ('airplane', 'automobile'))
    """
    _checks.check_member("weights", name, PACKAGED)
    resource = resources.files("signsal_jax.models") / "packaged" / f"{name}.safetensors"
    with resources.as_file(resource) as path, safe_open(path, framework="flax") as file:
        metadata = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    class_names = tuple(json.loads(metadata["class_names"]))
    height, width, channels = json.loads(metadata["input_shape"])
    abstract = nnx.eval_shape(
        lambda: create(metadata["model"], len(class_names), in_features=channels)
    )
    graph, state = nnx.split(abstract)
    pure = nnx.to_pure_dict(state)
    paths, treedef = jax.tree_util.tree_flatten_with_path(pure)
    leaves = [arrays[jax.tree_util.keystr(path, simple=True, separator=".")] for path, _ in paths]
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(treedef, leaves))
    apply_fn, variables = from_nnx(nnx.merge(graph, state))
    return Model(apply_fn, variables, class_names, (height, width, channels))
