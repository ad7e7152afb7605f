"""A classifier's layers with weights, each with the bias and normalization that follow it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._vma import varying_like
from signsal_jax.gradients._tape import Step, Tape, Value

# Operations whose result is linear in each operand, by the kind of layer that they make.
KINDS = {"conv_general_dilated": "convolution", "conv2d": "convolution", "dot_general": "dense"}
_SUMS = ("reduce_sum", "reduce_window_sum")
_SCALES = ("mul", "div", "neg")
_AFFINE = ("add", "sub", *_SCALES)


class Affine:
    """A linear operation on activations and what follows it position by position: a·(W x) + b.

    So a bias and, at inference, a batch normalization are parts of the layer before them.

    Attributes:
      steps: the linear operation, and the steps that add, subtract, multiply or divide by numbers
        that do not depend on the images.
      kind: "convolution", "dense", or "sum" for one without weights.
      weights: W in the operation's own layout; None for a sum.
      bias: b, what the layer gives for zeros, shaped like its outputs.
      scale: a, shaped like the outputs; None where nothing is multiplied.
    """

    def __init__(self, steps: list[Step], kind: str):
        self.steps, self.kind = steps, kind
        constants = [one.array for one in steps[0].operands if not one.active]
        self.weights: Any = None if kind == "sum" else constants[0]
        # Computed here, once for all classes: in a pullback they would belong to its trace.
        zeros, ones = self._constant(0.0), self._constant(1.0)
        self.bias = self._follow(zeros)
        scaled = any(self._scales(step) for step in steps[1:])
        self.scale = jax.jvp(self._follow, (zeros,), (ones,))[1] if scaled else None

    @property
    def inputs(self) -> Value:
        return self.steps[0].carriers[0]

    @property
    def carriers(self) -> list[Value]:
        return self.steps[0].carriers

    @property
    def results(self) -> list[Value]:
        return self.steps[-1].results

    def linear(self, inputs: Array) -> Array:
        """Applies the layer without its bias."""
        if self.kind == "sum":
            return self._scaled(self.steps[0].operation(inputs))
        return self._scaled(self.unscaled(inputs, self.weights))

    def positive(self, inputs: Array) -> Array:
        """Applies the layer without its bias and negative weights."""
        return self._signed(inputs, jnp.maximum, jnp.minimum)

    def negative(self, inputs: Array) -> Array:
        """Applies the layer without its bias and positive weights."""
        return self._signed(inputs, jnp.minimum, jnp.maximum)

    def unscaled(self, inputs: Array, weights: Array) -> Array:
        """Applies the linear operation alone, with other weights."""
        first = self.steps[0]
        known = {id(one): inputs if one.active else weights for one in first.operands}
        return first.applied([known[id(one)] for one in first.operands])

    def _signed(self, inputs: Array, keep: Callable, drop: Callable) -> Array:
        # A negative factor turns the sign of its weights.
        kept = self.unscaled(inputs, keep(self.weights, 0))
        if self.scale is None:
            return kept
        return self._scaled(
            jnp.where(self.scale < 0, self.unscaled(inputs, drop(self.weights, 0)), kept)
        )

    def _scaled(self, values: Array) -> Array:
        return values if self.scale is None else values * self.scale

    def _constant(self, value: float) -> Array:
        outputs = self.steps[0].results[0].array
        return varying_like(jnp.full_like(outputs, value), outputs)

    def _follow(self, values: Array) -> Array:
        for step in self.steps[1:]:
            values = step.operation(values)
        return values

    @staticmethod
    def _scales(step: Step) -> bool:
        return step.name in _SCALES or (step.name == "sub" and step.operands[1].active)


def layers(tape: Tape) -> list[Affine]:
    """Finds the layers of a classifier in their order.

    Sums and means over positions are layers without weights.
    """
    readers = tape.readers()
    found = []
    for step in tape.steps:
        active = [operand for operand in step.operands if operand.active]
        kind = "sum" if step.name in _SUMS else KINDS.get(step.name)
        if kind is None or len(active) != 1 or not active[0].carries:
            continue
        if kind == "convolution" and not step.operands[0].active:  # a kernel made from images
            continue
        steps = [step]
        while (following := readers.get(steps[-1].results[0], ())) and len(following) == 1:
            (after,) = following
            if not _elementwise(after):
                break
            steps.append(after)
        found.append(Affine(steps, kind))
    return found


def _elementwise(step: Step) -> bool:
    """Whether the step computes a·x + b, without a change of shape."""
    if step.name not in _AFFINE or len(step.carriers) != 1:
        return False
    if step.name == "div" and not step.operands[0].active:
        return False
    return step.carriers[0].array.shape == step.results[0].array.shape


def biases(tape: Tape) -> list[tuple[Value, Array]]:
    """All biases of a classifier: what they are added to, with the sum, and their values.

    Returns the results of layers, and of other steps that add a number, each with the bias shaped
    like it.
    """
    found = layers(tape)
    within = {id(step) for layer in found for step in layer.steps}
    pairs = [(layer.results[0], layer.bias) for layer in found]
    for step in tape.steps:
        if id(step) not in within and step.name in ("add", "sub") and len(step.carriers) == 1:
            zeros = 0 * step.carriers[0].array
            pairs.append((step.results[0], step.operation(zeros)))
    return pairs
