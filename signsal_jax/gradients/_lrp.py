"""Layer-wise relevance propagation (LRP): the score is handed back, layer by layer."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._affine import Affine, layers
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._lrp_operations import ACTIVATIONS, operation_rule
from signsal_jax.gradients._lrp_rules import (
    COMPOSITES,
    Box,
    Settings,
    Sharing,
    box as box_rule,
    epsilon as epsilon_rule,
)
from signsal_jax.gradients._plain import scores_of
from signsal_jax.gradients._tape import Step, Tape, pull_back, record

LRP_RULES = tuple(COMPOSITES)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lrp:
    """See `lrp`."""

    rules: str = dataclasses.field(metadata={"static": True})
    epsilon: float = dataclasses.field(metadata={"static": True})
    gamma: float = dataclasses.field(metadata={"static": True})
    alpha: float = dataclasses.field(metadata={"static": True})

    name = "lrp"
    linear = False

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
            tape = record(apply_fn, variables, images, whole=ACTIVATIONS)
        logits = tape.logits.array
        found = layers(tape)
        by_end = {id(layer.steps[-1]): layer for layer in found}
        within = {id(step) for layer in found for step in layer.steps[:-1]}
        nodes = [by_end.get(id(step), step) for step in tape.steps if id(step) not in within]
        with matmul_precision(precision):
            shared = self._sharings(tape, found)

        def pull(node: Step | Affine, relevance: list[Array]) -> Sequence[Array]:
            if isinstance(node, Step):
                return self._through(node, relevance)
            return [shared[id(node)](relevance[0])]

        def pullback(cotangent: Array) -> Gradients:
            _, gradient = jax.vjp(lambda logits: scores_of(logits, output), logits)
            start = logits * gradient(cotangent)[0]
            with matmul_precision(precision):
                relevance = pull_back(nodes, {tape.logits: start}, pull)
            return relevance.get(tape.images, 0 * images)

        return logits, pullback

    def _sharings(self, tape: Tape, found: list[Affine]) -> dict[int, Sharing]:
        """Returns how each layer, by its `id`, shares relevance."""
        composite = COMPOSITES[self.rules]
        settings = Settings(self.epsilon, self.gamma, self.alpha)
        kinds = {
            "convolution": composite.convolution,
            "dense": composite.dense,
            "sum": epsilon_rule,
        }
        shared, first = {}, composite.first
        for layer in found:
            rule, box = kinds[layer.kind], None
            if first is not None and layer.kind in composite.first_kinds:
                rule, first = first, None
                box = _limits(tape, layer) if rule is box_rule else None
            shared[id(layer)] = rule(layer, box, settings)
        return shared

    def _through(self, step: Step, relevance: list[Array]) -> Sequence[Array]:
        """Passes relevance through an operation without weights."""
        rule = operation_rule(step.name)
        operands = [carrier.array for carrier in step.carriers]
        given: Any = relevance if len(relevance) > 1 else relevance[0]
        shares = None if rule is None else rule(step.operation, operands, given, self.epsilon)
        if shares is None:
            several = f" of {len(operands)} values that depend on the images"
            raise ValueError(
                "lrp: expected a rule for every operation between images and logits, got "
                f"{step.name}{several if len(operands) > 1 else ''} without one: "
                f'signsal_jax.gradients.register_lrp_rule("{step.name}", rule)'
            )
        return shares


def _limits(tape: Tape, layer: Affine) -> Box:
    """What black and white images are at the layer's inputs."""
    images = tape.images.array
    ends = [
        tape.value_at(layer.inputs, varying_like(jnp.full_like(images, pixel), images))
        for pixel in (0, 1)
    ]
    return jnp.minimum(*ends), jnp.maximum(*ends)


def lrp(
    rules: str = "epsilon_plus", epsilon: float = 1e-6, gamma: float = 0.25, alpha: float = 2.0
) -> Estimator:
    """Hands the score back, layer by layer, to what it was made of (relevance propagation).

    The score is the relevance of its logit. Each layer shares the relevance of an output among the
    inputs, in proportion to what they contributed; the rules differ in which contributions count.
    A positive value says that what is seen at this pixel supports the class, a negative one that it
    speaks against it; it is not the sign of a derivative. With "z_plus" in all layers no
    relevance changes its sign on its way, so a map has the sign of its score: use it for
    "where", not for "for or against".

    A bias and, at inference, a batch normalization belong to the layer before them, whose rule sees
    their product as its weights. Any other number that is added or multiplied (such as the mean and
    standard deviation of preprocessing) lets relevance pass unchanged. So relevance counts from
    the value that preprocessing maps to zero.

    Cost: one forward pass, and one backward pass per class. In the latter, and once more in the
    forward pass, a layer stands for several of its kind: 1 for "epsilon", 2 for "z_plus", 4 for
    "alpha_beta", 6 for "gamma"; about twice as many where a normalization follows it and the signs
    of weights count.

    Args:
      rules: "epsilon", "z_plus", "gamma" or "alpha_beta" in all layers, or one of zennit's
        composites: "epsilon_plus" (epsilon in dense layers, z-plus in convolutions),
        "epsilon_alpha_beta" (zennit's EpsilonAlpha2Beta1), the same two with the rule "flat" in the
        first layer ("epsilon_plus_flat", "epsilon_alpha_beta_flat"), and "epsilon_gamma_box"
        (gamma in convolutions, and in the first one how far pixels are from their limits 0 and 1).
      epsilon: at least 0; added to every denominator. With "epsilon" and 0, this is LRP-0, which
        equals gradient x input in networks of ReLUs.
      gamma: at least 0; how much contributions with the sign of the output count in addition.
      alpha: at least 1; how often positive contributions count; negative ones count alpha - 1.

    Returns:
      An `Estimator` that is not linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: unknown rules, a number outside of its range. Once the network is
        known: an operation without a rule, for which `gradients.register_lrp_rule` adds one.

    Reference: Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140, equations 56 to 62;
    composites as in zennit, arXiv 2106.13200. Relevance of several scores (`output="softmax"`)
    starts as gradient times logit.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([1.0, 0.5]).reshape(1, 1, 2, 1)
    >>> _, relevance = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.lrp("epsilon"))
    >>> [round(value, 3) for value in relevance.ravel().tolist()]
    [2.0, 1.0, -1.0, -0.5]
    """
    _checks.check_member("rules", rules, LRP_RULES)
    limits = {"epsilon": (epsilon, 0), "gamma": (gamma, 0), "alpha": (alpha, 1)}
    numbers = []
    for name, (value, least) in limits.items():
        number = _checks.check_real(name, value)
        if not (least <= number and math.isfinite(number)):
            raise ValueError(f"{name}: expected a finite number of at least {least}, got {number}")
        numbers.append(number)
    return Lrp(rules, *numbers)
