"""Conversion between the training state and the plain arrays that checkpoints hold."""

from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from signsal_jax import sharding
from train import step as steps, task as tasks


def from_state(task: tasks.Task, state: steps.TrainState) -> dict[str, Any]:
    """Copies the whole network, including its frozen part, and the optimizer's state.

    A copy is needed: the next step reuses the state's memory while a checkpoint may still be
    written.
    """
    trained = nnx.to_pure_dict(nnx.merge_state(state.params, state.rest))
    saved = {"variables": task.whole(trained), "opt_state": jax.tree.leaves(state.opt_state)}
    return jax.tree.map(np.array, saved)


def to_state(
    task: tasks.Task, like: steps.TrainState, saved: dict[str, Any], mesh: Mesh
) -> steps.TrainState:
    """The inverse of `from_state`; the state is copied to every device of the mesh."""
    variables = nnx.merge_state(like.params, like.rest)
    nnx.replace_by_pure_dict(variables, task.part(saved["variables"]))
    params, rest = nnx.split_state(variables, nnx.Param, ...)
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), saved["opt_state"])
    return sharding.replicate(mesh, steps.TrainState(params, rest, opt_state))
