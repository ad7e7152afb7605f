"""The case of training: one step of both sides, from the same weights on the same batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import signsal_jax
from scripts.bench import agreement, flops, timing
from scripts.bench.case import Case
from scripts.bench.workloads import NUM_CLASSES, Workload, images_and_labels, seeded_network
from signsal_jax.models.pretrained import flatten_variables
from signsal_jax.sharding import make_mesh
from train import step as training

_MOMENTUM = 0.9


def _flat(gradients: dict[str, Any]) -> np.ndarray:
    return np.concatenate([gradients[name].numpy().ravel() for name in sorted(gradients)])


def train(workload: Workload, *, compiled: bool) -> Case:
    """A training step with AdamW on cross-entropy, as in the paper.

    Compares the first step's loss and weight gradients, but no later losses: AdamW takes an equally
    long step for a gradient whose sign is due to rounding, and after two steps PyTorch's own
    float32 and float64 differ by several percent on ResNet-18.
    """
    from scripts.bench import settings, torch_methods, torch_networks
    from scripts.bench.peer import torch

    network, arrays = seeded_network(workload)
    images, labels = images_and_labels(workload)
    layers = flops.layer_flops(*signsal_jax.from_nnx(network), jnp.asarray(images))
    optimizer = optax.adamw(1e-3, b1=_MOMENTUM, weight_decay=0.01)
    graph, state = training.init(network, optimizer)
    batch = (jnp.asarray(images), jnp.asarray(labels))
    train_step = training.make_train_step(graph, optimizer, make_mesh(jax.devices()[:1]))
    step, seconds = timing.compiled(train_step, state, *batch)

    def ours() -> float:
        nonlocal state
        state, sums = step(state, *batch)
        jax.block_until_ready(state)
        return float(sums.loss) / len(images)

    theirs = settings.in_every_setting(
        torch_methods.training_steps(torch.from_numpy(labels).long()),
        torch_networks.build(workload.network, NUM_CLASSES, arrays),
        torch_networks.to_torch(images),
        compiled=compiled,
    )
    loss = ours()
    # After one step AdamW's first moment is the gradient, scaled.
    moments = flatten_variables(nnx.to_pure_dict(state.opt_state[0].mu))
    gradients = torch_networks.to_torch_weights(
        {path: np.asarray(moment) / (1 - _MOMENTUM) for path, moment in moments.items()}
    )
    found = {}
    for way, (their_loss, their_gradients) in theirs.results.items():
        found |= {
            f"loss, {way}": agreement.compare_losses(loss, their_loss),
            f"gradients, {way}": agreement.compare_gradients(
                _flat(gradients), _flat(their_gradients)
            ),
        }
    return Case(ours, theirs.runs, theirs.failed, found, flops.training_flops(layers), seconds)
