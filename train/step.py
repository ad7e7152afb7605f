"""The pure training step, on batches that are split over the devices of a mesh.

Every device has all parameters. XLA partitions the step: every sum over the batch, and so every
gradient and batch statistic, becomes an all-reduce. Nothing else is communicated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

from signsal_jax._types import Images


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      params: the trained parameters.
      rest: the other variables, such as batch statistics.
      opt_state: the optimizer's state.
    """

    params: Any
    rest: Any
    opt_state: Any


class Sums(NamedTuple):
    """Sums over images, divided only when they are reported."""

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    images: Int[Array, ""]


def init(model: nnx.Module, optimizer: optax.GradientTransformation) -> tuple[Any, TrainState]:
    """The model's static graph, in training mode, and its state."""
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return graph, TrainState(params, rest, optimizer.init(params))


def _sums(logits: Array, labels: Array, mask: Array) -> Sums:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = (logits.argmax(1) == labels) & mask
    return Sums(jnp.where(mask, losses, 0).sum(), correct.sum(), mask.sum())


def _whole(mesh: Mesh) -> NamedSharding:
    """The sharding of results that every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def make_train_step(
    graph: Any, optimizer: optax.GradientTransformation, mesh: Mesh
) -> Callable[[TrainState, Images, Int[Any, " b"]], tuple[TrainState, Sums]]:
    """Makes a jitted `step(state, images, labels) -> (state, sums)` that reduces cross-entropy.

    Every device of the mesh has the whole state; `sharding.place` splits the batch. The loss, its
    gradient and batch statistics are means over the whole batch.
    """

    def loss_fn(params: Any, rest: Any, images: Array, labels: Array) -> tuple[Array, tuple]:
        # Copied, so that the batch statistics may change inside this trace.
        model = nnx.merge(graph, params, rest, copy=True)
        sums = _sums(model(images), labels, jnp.ones(labels.shape, bool))
        _, _, rest = nnx.split(model, nnx.Param, ...)
        return sums.loss / len(labels), (rest, sums)

    def train_step(state: TrainState, images: Array, labels: Array) -> tuple[TrainState, Sums]:
        gradients, (rest, sums) = jax.grad(loss_fn, has_aux=True)(
            state.params, state.rest, images, labels
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, rest, opt_state), sums

    # The old state's memory is reused for the new one.
    return jax.jit(train_step, donate_argnums=0, out_shardings=_whole(mesh))


def make_eval_step(
    graph: Any, mesh: Mesh
) -> Callable[[TrainState, Images, Int[Any, " b"], Bool[Any, " b"]], Sums]:
    """Makes a jitted `step(state, images, labels, mask) -> sums` in inference mode."""

    def eval_step(state: TrainState, images: Array, labels: Array, mask: Array) -> Sums:
        model = nnx.merge(graph, state.params, state.rest)
        model.eval()
        return _sums(model(images), labels, mask)

    return jax.jit(eval_step, out_shardings=_whole(mesh))
