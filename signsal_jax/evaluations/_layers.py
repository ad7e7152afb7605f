"""The layers of any classifier, in the order in which an image meets their weights."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from signsal_jax._jaxpr import inner_programs
from signsal_jax._types import ApplyFn, Variables


def layer_numbers(apply_fn: ApplyFn, variables: Variables, images: Any) -> list[int]:
    """Returns the layer of each leaf of the variables, from 0; -1 for one that is not used.

    Traces the classifier once and computes nothing. A leaf is used where it first meets what
    depends on the images. Every leaf of at least two dimensions (a kernel) begins a layer;
    vectors, such as a bias, belong to the kernel before them.
    """
    leaves, tree = jax.tree.flatten(variables)

    def call(leaves: list[Any], images: Any) -> Any:
        return apply_fn(jax.tree.unflatten(tree, leaves), images)

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), leaves)
    given = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    program = jax.make_jaxpr(call)(shapes, given).jaxpr
    order: list[int] = []
    _first_uses(program, [*(frozenset([place]) for place in range(len(leaves))), None], order)
    numbers, layer = [-1] * len(leaves), -1
    for place in order:
        if leaves[place].ndim > 1 or layer < 0:
            layer += 1
        numbers[place] = layer
    return numbers


def _first_uses(
    program: jex.Jaxpr, inputs: Sequence[frozenset[int] | None], order: list[int]
) -> list[frozenset[int] | None]:
    """Appends leaves to `order` where they first meet data; returns what the outputs depend on.

    A value is None if it depends on the images, and else the set of leaves that it is made of.
    """
    nothing: frozenset[int] = frozenset()
    known: dict[Any, frozenset[int] | None] = dict.fromkeys(program.constvars, nothing)
    known |= dict(zip(program.invars, inputs, strict=True))

    def of(variable: Any) -> frozenset[int] | None:
        return nothing if isinstance(variable, jex.Literal) else known[variable]

    for equation in program.eqns:
        given = [of(variable) for variable in equation.invars]
        made = [values for values in given if values is not None]
        if len(made) == len(given):
            outputs = [nothing.union(*made)] * len(equation.outvars)
        else:
            outputs = [None] * len(equation.outvars)
            bodies = [body for body in inner_programs(equation) if len(body.invars) == len(given)]
            if bodies:
                _first_uses(bodies[0], given, order)
            # What a body of another form uses, such as a conditional's, is used here.
            for place in sorted(nothing.union(*made)) if not bodies else ():
                if place not in order:
                    order.append(place)
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [of(variable) for variable in program.outvars]


def randomized(
    variables: Variables, layers: Sequence[int], key: jax.Array, top: int | jax.Array
) -> Variables:
    """Returns the variables with the last `top` layers' weights shuffled, leaf by leaf.

    A shuffled leaf has the distribution that it was trained to have, and nothing else of it. The
    same key shuffles a leaf in the same way, however many layers are.
    """
    leaves, tree = jax.tree.flatten(variables)
    first = jnp.maximum(max(layers) + 1 - top, 0)
    found = []
    for place, (leaf, layer) in enumerate(zip(leaves, layers, strict=True)):
        if layer >= 0 and jnp.issubdtype(leaf.dtype, jnp.floating):
            flat = jax.random.permutation(jax.random.fold_in(key, place), leaf.reshape(-1))
            leaf = jnp.where(layer >= first, flat.reshape(leaf.shape), leaf)
        found.append(leaf)
    return jax.tree.unflatten(tree, found)
