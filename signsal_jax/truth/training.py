"""Small networks, trained on a task's scenes as they are rendered: no image is seen twice.

Needs the extra `train`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax import _checks
from signsal_jax._extras import extra
from signsal_jax._types import ApplyFn, Variables
from signsal_jax.models import from_nnx
from signsal_jax.models.cifar_resnet import CifarResNet
from signsal_jax.models.cnn import BasicCNN
from signsal_jax.models.convnext import ConvNeXt
from signsal_jax.models.vit import ViT
from signsal_jax.truth.follow import follow
from signsal_jax.truth.render import CELL, SIZE, render_scene
from signsal_jax.truth.samples import batch
from signsal_jax.truth.tasks import SHARPNESS, Task

_MAKERS: dict[str, Callable[[int, nnx.Rngs], nnx.Module]] = {
    "cnn": lambda classes, rngs: BasicCNN(classes, rngs=rngs),
    "cifar_resnet8": lambda classes, rngs: CifarResNet(classes, depth=8, rngs=rngs),
    "cifar_resnet20": lambda classes, rngs: CifarResNet(classes, depth=20, rngs=rngs),
    "convnext": lambda classes, rngs: ConvNeXt(
        classes, depths=(1, 1), features=(32, 64), rngs=rngs
    ),
    "vit": lambda classes, rngs: ViT(
        classes, features=64, heads=4, depth=3, patch=CELL, grid=SIZE // CELL, rngs=rngs
    ),
}
NETWORKS = tuple(_MAKERS)
EPSILON = 4 / 255
"""The largest change of a pixel by an adversary; `STEP` of the marks is 2.5 times as much."""
# The CNN has no normalization and needs smaller steps on more images, and so does the transformer.
# They are also the fastest.
_PEAK, _BATCH = {"cnn": 2e-3, "vit": 1e-3, "convnext": 2e-3}, {"cnn": 64, "vit": 64, "convnext": 32}
_PEAK_OF_OTHERS, _BATCH_OF_OTHERS = 5e-3, 16
_WARM_UP = 75
# Training ends where a network is this good on scenes that it is not trained on, a little better
# than what is asked of it on those of the test split.
_GOOD = 0.995
_EVERY, _CHECKED, _MARKED = 100, 500, 60
# A stream of the training split that no seed trains on.
_HELD_OUT = 2**31 - 1
# Torch's initial values shrink a signal by sqrt(6) per layer of ReLUs, and the CNN has ten layers
# and no normalization: with them it does not begin to learn these tasks.
_HE = 6**0.5


class Trained(NamedTuple):
    """A trained network.

    Attributes:
      apply_fn: a pure function, the same object for all trainings of this network.
      variables: its weights.
      steps: how many it was trained for.
    """

    apply_fn: ApplyFn
    variables: Variables
    steps: int = 0

    @property
    def logits_fn(self) -> Callable[..., Any]:
        """The jitted network, compiled once for all its trainings."""
        return _jitted(self.apply_fn)


@functools.cache
def _jitted(apply_fn: ApplyFn) -> Callable[..., Any]:
    return jax.jit(apply_fn)


class _Centered(nnx.Module):
    """A network on pixels moved and scaled to a mean near 0 and a deviation near 1."""

    def __init__(self, network: nnx.Module):
        self.network: Any = network

    def __call__(self, images: Array) -> Array:
        return self.network((images - 0.5) * 4)


def _create(name: str, classes: int, seed: int) -> nnx.Module:
    # Weights have many shapes, and a generator of this kind compiles in a fifth of the time.
    network = _MAKERS[name](classes, nnx.Rngs(params=jax.random.key(seed, impl="rbg")))
    state = nnx.state(network, nnx.Param)
    nnx.update(network, jax.tree.map(lambda p: p * _HE if p.ndim == 4 else p, state))
    return _Centered(network)


class _Program(NamedTuple):
    """What all runs of a network share, so that it compiles once."""

    apply_fn: ApplyFn
    optimizer: Any
    step: Callable[..., Any]


@functools.cache
def _program(name: str, classes: int, steps: int, adversarial: bool) -> _Program:
    optax = extra("optax", "train")
    network = _create(name, classes, 0)
    apply_fn, _ = from_nnx(network)
    network.train()
    graph, _, _ = nnx.split(network, nnx.Param, ...)
    peak = _PEAK.get(name, _PEAK_OF_OTHERS)
    schedule = optax.warmup_cosine_decay_schedule(0, peak, _WARM_UP, max(steps, _WARM_UP + 1))
    optimizer = optax.adamw(schedule, weight_decay=1e-4)

    def loss(params: Any, rest: Any, images: Array, scores: Array) -> tuple[Array, Any]:
        model = nnx.merge(graph, params, rest, copy=True)
        wanted = jax.nn.softmax(SHARPNESS * scores)
        cost = optax.softmax_cross_entropy(model(images), wanted).mean()
        return cost, nnx.split(model, nnx.Param, ...)[2]

    def step(params: Any, rest: Any, state: Any, images: Array, scores: Array) -> Any:
        if adversarial:
            toward, _ = jax.grad(loss, argnums=2, has_aux=True)(params, rest, images, scores)
            images = images + EPSILON * jnp.sign(toward)
        (cost, rest), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, rest, images, scores
        )
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), rest, state, cost

    return _Program(apply_fn, optimizer, jax.jit(step, donate_argnums=(0, 1, 2)))


def train_network(
    task: Task, name: str, *, seed: int = 0, steps: int = 300, adversarial: bool = False
) -> Trained:
    """Trains a network on the softmax of a task's design scores, until it follows the design.

    Every 100 steps that is measured on scenes of the training split that no seed is trained on.
    Scenes of the test split are never drawn. Deterministic on one machine.

    Args:
      task: one of `TASKS`.
      name: one of `NETWORKS`.
      seed: of the initial weights and of the scenes.
      steps: the most batches: of 64 scenes for cnn and vit, 32 for convnext, 16 for the others.
      adversarial: move each pixel by `EPSILON` in the direction that raises the loss before each
        step (the fast gradient sign method, arXiv 1412.6572).

    Returns:
      `Trained`.

    Raises:
      ValueError: an unknown network, a seed or steps out of range.
      ImportError: optax is not installed.
    """
    _checks.check_member("name", name, NETWORKS)
    seed = _checks.check_integer("seed", seed, least=0)
    steps = _checks.check_integer("steps", steps, least=1)
    program = _program(name, task.classes, steps, adversarial)
    network = _create(name, task.classes, seed)
    network.train()
    _, params, rest = nnx.split(network, nnx.Param, ...)
    state = program.optimizer.init(params)
    size = _BATCH.get(name, _BATCH_OF_OTHERS)
    draw = _drawing(task, size)
    cost, done = jnp.inf, 0
    for number in range(steps):
        images, scores = draw(jnp.asarray(number * size), jnp.asarray(seed))
        params, rest, state, cost = program.step(params, rest, state, images, scores)
        done = number + 1
        if done % _EVERY == 0 and done < steps and _is_good(program, params, rest, task):
            break
    if not jnp.isfinite(cost):
        raise FloatingPointError(f"the loss of {name} on {task.name} is not finite: {cost}")
    return Trained(program.apply_fn, nnx.merge_state(params, rest), done)


@functools.cache
def _drawing(task: Task, size: int) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Draws the images and scores of a batch; compiled once for all seeds."""

    @jax.jit
    def draw(start: Array, stream: Array) -> tuple[Array, Array]:
        drawn = batch(task, "train", start, size, stream)
        return jax.vmap(render_scene)(drawn.scene), drawn.scores

    return draw


def _is_good(program: _Program, params: Any, rest: Any, task: Task) -> bool:
    """Whether a network classifies held-out scenes right and follows the design on them."""
    found = follow(
        _jitted(program.apply_fn),
        nnx.merge_state(params, rest),
        task,
        "train",
        images=_CHECKED,
        marked=_MARKED,
        stream=_HELD_OUT,
    )
    return found.accuracy >= _GOOD and float(found.agreement.share) >= _GOOD
