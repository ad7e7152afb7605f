"""Guided backpropagation, DeconvNet and RectGrad: other backward passes through each ReLU."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import primitives

from signsal_jax import _checks
from signsal_jax._jaxpr import inner_programs, trace
from signsal_jax._rewrite import Operation, evaluate, inner_program, rectifier
from signsal_jax._types import ApplyFn, Images, Logits, Variables
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._plain import Plain

Activation = Callable[[Array], Array]

_KEEP_ZEROS = ("broadcast_in_dim", "convert_element_type", "copy", "pbroadcast", "pvary")
_OTHER_ACTIVATIONS = ("erf", "exp", "logistic", "tanh")


class ThroughRelus:
    """The base of the estimators that change what passes back through ReLUs."""

    name: str
    linear = False

    def passes(self, output: Array, cotangent: Array) -> Array:
        """Returns where the cotangent passes, from it and from the output of the ReLU."""
        raise NotImplementedError

    def __call__(
        self, apply_fn: ApplyFn, variables: Variables, images: Images, /, **settings: Any
    ) -> tuple[Logits, Pullback]:
        def classify(variables: Variables, images: Images) -> Array:
            program, shapes, arrays = trace(apply_fn, variables, images)
            relus = self._relus(program)

            def rule(equation: jex.JaxprEqn) -> Operation | None:
                if id(equation) not in relus:
                    return None
                place, activation = relus[id(equation)]
                relu = self._modified(activation)
                if equation.primitive.multiple_results:
                    return lambda *operands: [relu(operands[place])]
                return lambda *operands: relu(operands[place])

            rules = dict.fromkeys((primitives.custom_jvp_call_p, primitives.max_p), rule)
            outputs = evaluate(rules, program.jaxpr, program.consts, *arrays)
            return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

        return Plain()(classify, variables, images, **settings)

    def _modified(self, activation: Activation) -> Activation:
        """Returns the activation with this estimator's backward pass."""

        @jax.custom_vjp
        def relu(values: Array) -> Array:
            return activation(values)

        def forward(values: Array) -> tuple[Array, Array]:
            output = activation(values)
            return output, output

        def backward(output: Array, cotangent: Array) -> tuple[Array]:
            passes = self.passes(output, cotangent)
            if activation is jax.nn.relu6:
                passes &= output < 6
            return (jnp.where(passes, cotangent, 0),)

        relu.defvjp(forward, backward)
        return relu

    def _relus(self, program: jex.ClosedJaxpr) -> dict[int, tuple[int, Activation]]:
        """Returns `_find_relus` as a dict; raises if there is none, or one that isn't replaced."""
        replaced = list(_find_relus(program.jaxpr, _rewritten))
        relus = list(_find_relus(program.jaxpr, inner_programs))
        if len(replaced) < len(relus):
            raise ValueError(
                f"estimator: {self.name} expected every ReLU outside of loops, conditionals and "
                f"functions with custom derivatives, got {len(relus) - len(replaced)} inside"
            )
        if not relus:
            names = _names(program.jaxpr).intersection(_OTHER_ACTIVATIONS)
            raise ValueError(
                f"estimator: {self.name} expected a network with ReLUs (jax.nn.relu, relu6, "
                "jnp.maximum(x, 0)), got one without (other activations: "
                f"{', '.join(sorted(names)) or 'none'})"
            )
        return dict(replaced)


def _find_relus(
    program: jex.Jaxpr, inner: Callable[[jex.JaxprEqn], Iterator[jex.Jaxpr]]
) -> Iterator[tuple[int, tuple[int, Activation]]]:
    """Yields the `id` of each ReLU's equation, which operand it is taken of, and the function."""
    zeros: set[jex.Var] = set()

    def is_zero(atom: jex.Var | jex.Literal) -> bool:
        return not np.any(atom.val) if isinstance(atom, jex.Literal) else atom in zeros

    for equation in program.eqns:
        name = rectifier(equation)
        if name is not None:
            yield id(equation), (0, jax.nn.relu6 if name == "relu6" else jax.nn.relu)
            continue
        known = [is_zero(atom) for atom in equation.invars]
        if equation.primitive.name in _KEEP_ZEROS and known[0]:
            zeros.update(equation.outvars)
        elif equation.primitive is primitives.max_p and sum(known) == 1:
            yield id(equation), (known.index(False), jax.nn.relu)
        for each in inner(equation):
            yield from _find_relus(each, inner)


def _rewritten(equation: jex.JaxprEqn) -> Iterator[jex.Jaxpr]:
    inner = inner_program(equation)
    if inner is not None:
        yield inner.jaxpr


def _names(program: jex.Jaxpr) -> set[str]:
    """Returns the names of all operations of a program."""
    inner = [_names(each) for equation in program.eqns for each in inner_programs(equation)]
    return {equation.primitive.name for equation in program.eqns}.union(*inner)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GuidedBackprop(ThroughRelus):
    """See `guided_backprop`."""

    name = "guided_backprop"

    def passes(self, output: Array, cotangent: Array) -> Array:
        return (output > 0) & (cotangent > 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeconvNet(ThroughRelus):
    """See `deconvnet`."""

    name = "deconvnet"

    def passes(self, output: Array, cotangent: Array) -> Array:
        return cotangent > 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RectGrad(ThroughRelus):
    """See `rect_grad`."""

    percentile: float = dataclasses.field(metadata={"static": True})

    name = "rect_grad"

    def passes(self, output: Array, cotangent: Array) -> Array:
        importance = output * cotangent
        axes = tuple(range(1, importance.ndim))
        least = functools.partial(jnp.percentile, q=self.percentile, axis=axes, keepdims=True)
        return (output > 0) & (importance > least(importance))


def guided_backprop() -> Estimator:
    """Passes back through a ReLU only what is positive, where the ReLU's input was positive.

    The result is not a derivative: it shows the edges that excite the network's units, nearly
    whatever the class (arXiv 1810.03292, 1805.07039). A positive value says that brighter excites,
    through the paths that are all positive; what inhibits never arrives. So active and inactive of
    it compare patterns, not evidence.

    Cost: one forward pass in all, and one backward pass per class.

    Returns:
      An `Estimator` that is not linear in the class scores, in score units per unit of pixel value.

    Raises:
      ValueError, once the network is known: no ReLU in it, or one inside a loop or conditional.

    Reference: Springenberg et al., arXiv 1412.6806, section 3.4.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(weights, images):
    ...     return jax.nn.relu(images.sum((1, 2)) @ weights[0]) @ weights[1]
    >>> weights = jnp.ones((1, 2)), jnp.asarray([[1.0, -2.0], [-3.0, -4.0]])
    >>> _, guided = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, jnp.ones((1, 1, 1, 1)), estimator=signsal_jax.guided_backprop())
    >>> guided.ravel().tolist()
    [1.0, 0.0]
    """
    return GuidedBackprop()


def deconvnet() -> Estimator:
    """Passes back through a ReLU only what is positive, whatever the ReLU's input was.

    Even more than guided backpropagation, the result depends on the network's filters rather than
    on the class or, without max-pooling, on the image. Its signs are to be read like those of
    `guided_backprop`.

    Cost: one forward pass in all, and one backward pass per class.

    Returns:
      An `Estimator` that is not linear in the class scores, in score units per unit of pixel value.

    Raises:
      ValueError: as `guided_backprop`.

    Reference: Zeiler and Fergus, arXiv 1311.2901, section 2.1.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(weights, images):
    ...     return jax.nn.relu(images.sum((1, 2)) @ weights[0]) @ weights[1]
    >>> weights = jnp.asarray([[1.0, -1.0]]), jnp.asarray([[1.0, -2.0], [3.0, -4.0]])
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, jnp.ones((1, 1, 1, 1)), estimator=signsal_jax.deconvnet())
    >>> attributions.ravel().tolist()
    [-2.0, 0.0]
    """
    return DeconvNet()


def rect_grad(percentile: float = 98.0) -> Estimator:
    """Passes back through a ReLU only where output times cotangent is among the highest.

    The threshold is a percentile over all units of a layer, per image and class. What arrives is
    the gradient along the paths that matter most, so fewer pixels differ from zero, and their
    signs are those of a derivative through these paths.

    Cost: one forward pass in all, and per class one backward pass and a sort of every layer.

    Args:
      percentile: from 0 to 100; the authors use 80 to 99 and recommend 98.

    Returns:
      An `Estimator` that is not linear in the class scores, in score units per unit of pixel value.
      The first axis of every ReLU's output must be the image in the batch.

    Raises:
      TypeError, ValueError: a percentile outside [0, 100]; otherwise as `guided_backprop`.

    Reference: Kim et al., arXiv 1902.04893, equation 3.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(weights, images):
    ...     return jax.nn.relu(images.sum((1, 2)) @ weights[0]) @ weights[1]
    >>> weights = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[1.0, 5.0], [3.0, 1.0]])
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, jnp.ones((1, 1, 1, 1)), estimator=signsal_jax.rect_grad(50.0))
    >>> attributions.ravel().tolist()
    [6.0, 5.0]
    """
    percentile = _checks.check_real("percentile", percentile)
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: expected from 0 to 100, got {percentile}")
    return RectGrad(percentile)
