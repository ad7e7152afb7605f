"""FullGrad: gradient x input, and what every bias inside the network contributes."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._precision import matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax.gradients._affine import biases
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._plain import scores_of
from signsal_jax.gradients._tape import Step, Tape, pull_back, record

# Added to the largest value before dividing by it, as in the authors' code.
_EPSILON = 1e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FullGrad:
    """See `full_grad`."""

    signed: bool = dataclasses.field(metadata={"static": True})

    name = "full_grad"

    @property
    def linear(self) -> bool:
        return self.signed

    def __call__(
        self,
        apply_fn: ApplyFn,
        variables: Variables,
        images: Images,
        /,
        *,
        output: str = "logits",
        precision: str | None = "highest",
    ) -> tuple[Logits, Pullback]:
        images = jnp.asarray(images)
        with matmul_precision(precision):
            tape = record(apply_fn, variables, images)
            _check_no_loops(tape)
            # The biases of dense layers have no position.
            spatial = [(value, bias) for value, bias in biases(tape) if bias.ndim == 4]
        logits = tape.logits.array

        def pull(step: Step, cotangents: list[Array]) -> Sequence[Array]:
            operands = [carrier.array for carrier in step.carriers]
            given = cotangents if len(cotangents) > 1 else cotangents[0]
            return jax.vjp(step.operation, *operands)[1](given)

        def pullback(cotangent: Array) -> Gradients:
            _, gradient = jax.vjp(lambda logits: scores_of(logits, output), logits)
            start = {tape.logits: gradient(cotangent)[0]}
            with matmul_precision(precision):
                gradients = pull_back(tape.steps, start, pull)
            total = self._map(images * gradients.get(tape.images, 0 * images), images)
            for value, bias in spatial:
                if value in gradients:
                    total = total + self._map(bias * gradients[value], images)
            return jnp.broadcast_to(total, images.shape).astype(images.dtype)

        return logits, pullback

    def _map(self, parts: Array, images: Images) -> Array:
        """Adds up the channels `[b, h, w, c]`, scaled up to the images: `[b, height, width, 1]`."""
        if not self.signed:
            parts = jnp.abs(parts)
            axes = (1, 2, 3)
            parts = parts - parts.min(axes, keepdims=True)
            parts = parts / (parts.max(axes, keepdims=True) + _EPSILON)
        summed = parts.sum(-1, keepdims=True)
        shape = (*images.shape[:3], 1)
        if summed.shape == shape:
            return summed
        scaled = jax.image.resize(summed, shape, "linear", antialias=False)
        # A sum of contributions stays what it is.
        share = summed.shape[1] * summed.shape[2] / (shape[1] * shape[2])
        return scaled * share if self.signed else scaled


def _check_no_loops(tape: Tape) -> None:
    loops = sorted({step.name for step in tape.steps} & {"cond", "scan", "while"})
    if loops:
        raise ValueError(
            "estimator: full_grad expected all biases outside of loops and conditionals, got a "
            f"network with {', '.join(loops)}"
        )


def full_grad(signed: bool = True) -> Estimator:
    """Adds up gradient x input and gradient times bias of every layer, where the biases act.

    In a network of ReLUs, max-pools and linear layers, these parts add up to the score: what
    gradient x input leaves out is what the biases contribute. Here the parts keep their sign, so a
    positive value says that what is seen at this position, with the biases that it switches on,
    supports the class, and a negative one that it speaks against it. Parts of inner layers are
    scaled up bilinearly with their sum, and all channels of the image get the same value.
    The biases of dense layers have no position; they are missing from the sum. A normalization
    counts with the layer before it; the mean that preprocessing takes off is a bias as well.

    Cost: as `plain`, plus one scaling per layer and class. All gradients of the layers are held at
    once.

    Args:
      signed: False gives the authors' map: absolute values, each part scaled to [0, 1].

    Returns:
      An `Estimator`. Signed: linear in the class scores, in units of the score. Otherwise: not
      linear, without a sign or unit. The network must be channels last.

    Raises:
      TypeError: signed that is not a bool. ValueError, once the network is known: loops or
        conditionals in it.

    Reference: Srinivas and Fleuret, arXiv 1905.00780, equations 3 and 7.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return (images + 1.0).sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([1.0, 0.5]).reshape(1, 1, 2, 1)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.full_grad())
    >>> attributions.ravel().tolist()
    [4.0, 3.0, -2.0, -1.5]
    """
    if not isinstance(signed, bool):
        raise TypeError(f"signed: expected a bool, got {type(signed).__name__}")
    return FullGrad(signed)
