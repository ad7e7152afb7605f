"""The cases: the functions of both sides on a workload, checked to agree when a case is made."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import signsal_jax
from scripts.bench import agreement, flops, timing
from scripts.bench.workloads import NUM_CLASSES, Workload, images_and_labels, seeded_network
from signsal_jax.evaluations.perturbation import FILLS
from signsal_jax.models.pretrained import flatten_variables
from signsal_jax.sharding import make_mesh
from train import step as training

_MOMENTUM = 0.9


class Case(NamedTuple):
    """Both sides of a comparison, ready to be timed, known to agree.

    Attributes:
      ours: runs our side and waits for the result.
      theirs: PyTorch's ways, by name; the ratio is taken against the fastest.
      agreement: the largest difference found, by the name of the compared result.
      flops: operations that the result needs.
      compile_seconds: time to trace, lower and compile our side, without any cache.
    """

    ours: Callable[[], Any]
    theirs: dict[str, Callable[[], Any]]
    agreement: dict[str, float]
    flops: int
    compile_seconds: float


class _Sides(NamedTuple):
    """Both networks with the same weights, and the same images for both."""

    apply_fn: signsal_jax.ApplyFn
    variables: Any
    images: Array
    torch_network: Any
    torch_images: Any
    layers: list[int]


def _sides(workload: Workload) -> _Sides:
    from scripts.bench import torch_networks

    network, arrays = seeded_network(workload)
    apply_fn, variables = signsal_jax.from_nnx(network)
    images, _ = images_and_labels(workload)
    torch_network = torch_networks.build(workload.network, NUM_CLASSES, arrays)
    torch_network.requires_grad_(False)
    layers = flops.layer_flops(apply_fn, variables, jnp.asarray(images))
    torch_images = torch_networks.to_torch(images)
    return _Sides(apply_fn, variables, jnp.asarray(images), torch_network, torch_images, layers)


def _runner(fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(fn(*args))


def forward(workload: Workload) -> Case:
    """The forward pass alone."""
    from scripts.bench.torch_networks import torch

    sides = _sides(workload)
    executable, seconds = timing.compiled(sides.apply_fn, sides.variables, sides.images)
    ours = _runner(executable, sides.variables, sides.images)
    theirs = torch.no_grad()(functools.partial(sides.torch_network, sides.torch_images))
    found = {"logits": agreement.compare_logits(np.asarray(ours()), theirs().numpy())}
    return Case(ours, {"forward": theirs}, found, sum(sides.layers), seconds)


def jacobian(workload: Workload) -> Case:
    """The signed Jacobian of all classes."""
    from scripts.bench import torch_methods

    sides = _sides(workload)
    fn = functools.partial(signsal_jax.signed_jacobian, sides.apply_fn)
    executable, seconds = timing.compiled(fn, sides.variables, sides.images)
    ours = _runner(executable, sides.variables, sides.images)
    theirs = {
        name: functools.partial(way, sides.torch_network, sides.torch_images, NUM_CLASSES)
        for name, way in torch_methods.JACOBIANS.items()
    }
    logits, rows = (np.asarray(array) for array in ours())
    found = {}
    for name, way in theirs.items():
        their_logits, their_rows = way()
        found |= {
            f"logits, {name}": agreement.compare_logits(logits, their_logits.numpy()),
            f"gradients, {name}": agreement.compare_gradients(
                rows, their_rows.permute(1, 0, 3, 4, 2).numpy()
            ),
        }
    return Case(ours, theirs, found, flops.jacobian_flops(sides.layers, NUM_CLASSES), seconds)


def maps(workload: Workload) -> Case:
    """All five maps."""
    from scripts.bench import torch_methods

    sides = _sides(workload)
    fn = functools.partial(signsal_jax.saliency_maps, sides.apply_fn)
    executable, seconds = timing.compiled(fn, sides.variables, sides.images)
    ours = _runner(executable, sides.variables, sides.images)
    theirs = functools.partial(
        torch_methods.five_maps, sides.torch_network, sides.torch_images, NUM_CLASSES
    )
    ours_now, theirs_now = ours().maps, theirs()
    found = {
        method: agreement.compare_maps(np.asarray(ours_now[method]), theirs_now[method].numpy())
        for method in signsal_jax.METHODS
    }
    needed = flops.jacobian_flops(sides.layers, NUM_CLASSES)
    return Case(ours, {"each map by itself": theirs}, found, needed, seconds)


def deletion(workload: Workload) -> Case:
    """The deletion benchmark's six curves, on the same maps."""
    from scripts.bench import torch_methods
    from scripts.bench.torch_networks import torch

    sides = _sides(workload)
    make_maps = jax.jit(functools.partial(signsal_jax.saliency_maps, sides.apply_fn))
    given = dict(make_maps(sides.variables, sides.images).maps)
    fn = functools.partial(signsal_jax.evaluate_deletion, sides.apply_fn)
    executable, seconds = timing.compiled(fn, sides.variables, sides.images, given)
    ours = _runner(executable, sides.variables, sides.images, given)
    torch_maps = {name: torch.from_numpy(np.array(values)) for name, values in given.items()}

    def theirs() -> dict:
        return {
            (fill, name): torch_methods.deletion_curve(
                sides.torch_network,
                sides.torch_images,
                torch_maps[name],
                FILLS[fill],
                signsal_jax.PAPER_FRACTIONS,
            )
            for fill, name in signsal_jax.PAPER_CURVES
        }

    ours_now, theirs_now = ours(), theirs()
    found = {
        " ".join(curve): agreement.compare_agreements(
            np.asarray(ours_now[curve].agreement), theirs_now[curve].numpy()
        )
        for curve in signsal_jax.PAPER_CURVES
    }
    fractions = sum(fraction > 0 for fraction in signsal_jax.PAPER_FRACTIONS)
    needed = flops.deletion_flops(sides.layers, len(signsal_jax.PAPER_CURVES), fractions)
    return Case(ours, {"the authors' way": theirs}, found, needed, seconds)


def train(workload: Workload) -> Case:
    """A training step with AdamW on cross-entropy, as in the paper.

    Compares the first step's loss and weight gradients, but no later losses: AdamW takes an equally
    long step for a gradient whose sign is due to rounding, and after two steps PyTorch's own
    float32 and float64 differ by several percent on ResNet-18.
    """
    from scripts.bench import torch_methods, torch_networks
    from scripts.bench.torch_networks import torch

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

    torch_network = torch_networks.build(workload.network, NUM_CLASSES, arrays)
    theirs = torch_methods.make_training_step(
        torch_network, torch_networks.to_torch(images), torch.from_numpy(labels).long()
    )
    found = {"loss": agreement.compare_losses(ours(), theirs())}
    # After one step AdamW's first moment is the gradient, scaled.
    moments = flatten_variables(nnx.to_pure_dict(state.opt_state[0].mu))
    gradients = torch_networks.to_torch_weights(
        {path: np.asarray(moment) / (1 - _MOMENTUM) for path, moment in moments.items()}
    )
    found["gradients"] = agreement.compare_gradients(
        *(
            np.concatenate([side[name].numpy().ravel() for name in sorted(gradients)])
            for side in (gradients, {k: p.grad for k, p in torch_network.named_parameters()})
        )
    )
    return Case(ours, {"training step": theirs}, found, flops.training_flops(layers), seconds)


_AT_32 = (Workload("cnn", 128, 32), Workload("resnet18", 32, 32))
_AT_224 = (Workload("cnn", 8, 224), Workload("resnet18", 4, 224))
_TRAINING = (Workload("cnn", 128, 32), Workload("resnet18", 128, 32))

KINDS: dict[str, tuple[Callable[[Workload], Case], tuple[Workload, ...]]] = {
    "jacobian": (jacobian, _AT_32 + _AT_224),
    "maps": (maps, _AT_32 + _AT_224),
    "deletion": (deletion, _AT_32),
    "training": (train, _TRAINING),
    "forward": (forward, _AT_32 + _AT_224),
}


def names() -> list[str]:
    """The name of every case, as `--cases` accepts it, such as `jacobian-cnn-32`."""
    return [
        f"{kind}-{workload.name}"
        for kind, (_, workloads) in KINDS.items()
        for workload in workloads
    ]


def find(name: str, *, quick: bool) -> tuple[Callable[[Workload], Case], Workload]:
    """A case's maker and workload; a quick workload has a few images of 32x32 pixels."""
    kind, _, short = name.partition("-")
    make, workloads = KINDS[kind]
    workload = next(workload for workload in workloads if workload.name == short)
    # Batch norm over only two images would amplify rounding to a different loss.
    batch = 16 if kind == "training" else 2
    return make, Workload(workload.network, batch, 32) if quick else workload
