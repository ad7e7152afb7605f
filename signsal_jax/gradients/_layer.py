"""A layer inside a classifier, found by the name that the network's code gives it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from signsal_jax._jaxpr import trace
from signsal_jax._rewrite import evaluate
from signsal_jax._types import ApplyFn, Images, Logits, Variables


def at_layer(
    apply_fn: ApplyFn, variables: Variables, images: Images, layer: str
) -> tuple[Callable[[Array], tuple[Logits, Array]], Array]:
    """Returns the classifier as a function of what is added to a layer's output, and zeros for it.

    The function gives the logits and the layer's output. The layer is marked in the network's code
    by `jax.ad_checkpoint.checkpoint_name(features, "name")`, which changes nothing else.

    Raises:
      ValueError: not exactly one layer of this name, or one of another shape than `[b, h, w, c]`.
    """
    program, shapes, arrays = trace(apply_fn, variables, images)
    seen: dict[str, list[Any]] = {}

    def run(added: Callable[[Array], Array]) -> tuple[Logits, list[Array]]:
        found: list[Array] = []

        def rule(equation: jex.JaxprEqn) -> Callable[[Array], Array]:
            name = equation.params["name"]

            def marked(features: Array) -> Array:
                seen.setdefault(name, []).append(features)
                if name != layer:
                    return features
                found.append(added(features))
                return found[-1]

            return marked

        results = evaluate({_name_primitive(): rule}, program.jaxpr, program.consts, *arrays)
        return jax.tree.unflatten(jax.tree.structure(shapes), results), found

    shape = jax.eval_shape(lambda: run(lambda features: features)[1])
    if len(shape) != 1:
        names = ", ".join(sorted(seen)) or "none"
        raise ValueError(
            f"layer: expected one layer named {layer!r}, got {len(shape)} (names found: {names}): "
            'mark it in the network by jax.ad_checkpoint.checkpoint_name(features, "name"), '
            "outside of loops and functions with custom derivatives"
        )
    features = shape[0]
    if len(features.shape) != 4 or features.shape[0] != images.shape[0]:
        raise ValueError(
            f"layer: expected the output of {layer!r} to be [b, h, w, c], got {features.shape}"
        )

    def classify(offset: Array) -> tuple[Logits, Array]:
        logits, found = run(lambda features: features + offset)
        return logits, found[0]

    return classify, jnp.zeros(features.shape, features.dtype)


@functools.cache
def _name_primitive() -> jex.Primitive:
    """The operation that gives a name; only newer JAX exports it."""
    (equation,) = jax.make_jaxpr(lambda value: checkpoint_name(value, "any"))(0.0).eqns
    return equation.primitive
