"""The cut of a classifier at its narrowest place between images and scores.

Every class score depends on the images only through the numbers at that place: the features. The
cut is found in the program that JAX traces, so a network needs to say nothing about its layers.
"""

import math
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import inner_programs
from signsal_jax._rewrite import run, value_of
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax._vma import shaped_like
from signsal_jax.gradients._flat import Program, dtype_of, flat_program, needed, shape_of
from signsal_jax.gradients._operations import count_operations
from signsal_jax.gradients._separator import narrowest_separator

Features = Float[Array, "n d"]


class Cut(NamedTuple):
    """Where a classifier is narrowest, and what lies before and behind it.

    Attributes:
      width: D, the numbers per image that all scores depend on; the number of classes where
        nothing before the scores is narrower.
      classes: K.
      shapes: of the arrays cut, without the axis of images.
      body_flops: counted operations per image from the image to the cut, a multiplication and an
        addition each; a pullback takes about as many.
      tail_flops: from the cut to the scores.
      affine: whether the scores are an affine function of the features.
      near_images: the place was to be the closest to the images of equally narrow ones.
      one_image: found in the program of a single image. That of several has other operations
        (broadcasting), and so other places.
      places: of the arrays cut: the number of an operation in the program, and of its result.
    """

    width: int
    classes: int
    shapes: tuple[tuple[int, ...], ...]
    body_flops: float
    tail_flops: float
    affine: bool
    near_images: bool
    one_image: bool
    places: tuple[tuple[int, int], ...]


def narrowest_cut(
    apply_fn: ApplyFn, variables: Variables, images: Images, *, near_images: bool = True
) -> Cut | None:
    """Finds where a classifier is narrowest between images and scores.

    Traces the classifier and computes nothing.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`; only their shape and type are used.
      near_images: of equally narrow places, the one closest to the images; False for the one
        closest to the scores, such as after a normalization instead of before it.

    Returns:
      `Cut`; None where the program cannot be cut: its operations depend on the number of images,
      no array before the scores has the images as its first axis, or a function with a custom
      vjp (which has no forward derivative) lies behind the cut.

    Raises:
      TypeError, ValueError: as `signed_jacobian`, about the images and the logits.

    Reference: Ford and Fulkerson (1956), the minimal cut.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import gradients
    >>> def apply_fn(variables, images):
    ...     return jnp.tanh(images.mean((1, 2))) @ variables
    >>> cut = gradients.narrowest_cut(apply_fn, jnp.ones((3, 100)), jnp.ones((1, 8, 8, 3)))
    >>> cut.width, cut.classes, cut.affine
    (3, 100, False)
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    images = jnp.asarray(images)
    like = shaped_like(images, images.shape)
    return _find(apply_fn, variables, like, near_images=near_images)


def _find(apply_fn: ApplyFn, variables: Variables, images: Any, *, near_images: bool) -> Cut | None:
    batch = images.shape[0]
    one = flat_program(apply_fn, variables, images)
    if batch == 1:
        weights = _sizes(one.program)
    else:
        more = shaped_like(images, (batch + 1, *images.shape[1:]))
        weights = _sizes_per_image(one.program, flat_program(apply_fn, variables, more).program)
    if weights is None:
        return None
    scores = one.program.outvars[0]
    if not isinstance(scores, jex.Var):
        return None
    edges = _successors(one.program)
    if scores not in edges:  # they do not depend on the images
        return None
    width, cut = narrowest_separator(
        edges, weights, one.program.invars[-1], scores, near_source=near_images
    )
    if width == math.inf or one.program.invars[-1] in cut:
        return None
    places = _places(one.program, cut)
    variables_cut = one.at(places)
    tail = needed(one.program, [scores], stop=cut)
    if _has_custom_vjp(tail):
        return None
    return Cut(
        int(width),
        shape_of(scores)[1],
        tuple(_of_one(shape_of(variable), batch) for variable in variables_cut),
        count_operations(needed(one.program, variables_cut)) / batch,
        count_operations(tail) / batch,
        _is_affine(one, variables_cut, tail, images),
        near_images,
        batch == 1,
        places,
    )


def features_of(cut: Cut, apply_fn: ApplyFn) -> ApplyFn:
    """Returns the classifier's body: from the images to the features `[b, d]` at the cut."""

    def body(variables: Variables, images: Images) -> Features:
        flat = flat_program(apply_fn, variables, images)
        cut_at = flat.at(_places_for(cut, apply_fn, variables, images))
        run({}, needed(flat.program, cut_at, effects=True), flat.values)
        parts = [flat.values[variable].reshape(len(images), -1) for variable in cut_at]
        return jnp.concatenate(parts, axis=1)

    return body


def logits_from(
    cut: Cut, apply_fn: ApplyFn, variables: Variables, images: Images, features: Features
) -> Float[Array, "n k"]:
    """Computes the classifier's tail: the logits from the features of as many images.

    Only shape and type of the images are used.
    """
    like = shaped_like(jnp.asarray(images), (len(features), *images.shape[1:]))
    flat = flat_program(apply_fn, variables, like)
    cut_at = flat.at(_places_for(cut, apply_fn, variables, like))
    ends = np.cumsum([math.prod(shape) for shape in cut.shapes])[:-1]
    parts = jnp.split(features, ends, axis=1)
    for variable, part in zip(cut_at, parts, strict=True):
        flat.values[variable] = part.reshape(shape_of(variable)).astype(dtype_of(variable))
    scores = flat.program.outvars[0]
    run({}, needed(flat.program, [scores], stop=set(cut_at)), flat.values)
    return value_of(scores, flat.values)


def _places_for(
    cut: Cut, apply_fn: ApplyFn, variables: Variables, images: Any
) -> tuple[tuple[int, int], ...]:
    if cut.one_image == (images.shape[0] == 1):
        return cut.places
    found = _find(apply_fn, variables, images, near_images=cut.near_images)
    if found is None or found.width != cut.width:
        raise ValueError(
            "apply_fn: expected features that do not depend on the number of images, got others: "
            'through="scores" does without'
        )
    return found.places


def _sizes(program: jex.Jaxpr) -> dict[jex.Var, float]:
    """Returns the size of each variable; infinity where its type has no derivative."""
    found = [program.invars[-1], *(each for eqn in program.eqns for each in eqn.outvars)]
    return {
        each: float(math.prod(shape_of(each)))
        if jnp.issubdtype(dtype_of(each), jnp.floating)
        else math.inf
        for each in found
    }


def _sizes_per_image(one: jex.Jaxpr, other: jex.Jaxpr) -> dict[jex.Var, float] | None:
    """Returns the sizes per image, from the programs of b and of b + 1 images, b > 1.

    Infinity also where the images are not the first axis; None if the programs differ in more than
    shapes.
    """
    if [each.primitive for each in one.eqns] != [each.primitive for each in other.eqns]:
        return None
    batch = shape_of(one.invars[-1])[0]
    sizes = {}
    for (variable, size), twin in zip(_sizes(one).items(), _sizes(other), strict=True):
        shape, wider = shape_of(variable), shape_of(twin)
        by_image = shape[:1] == (batch,) and wider == (batch + 1, *shape[1:])
        sizes[variable] = size / batch if by_image else math.inf
    return sizes


def _of_one(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    return shape[1:] if shape[:1] == (batch,) else shape


def _successors(program: jex.Jaxpr) -> dict[jex.Var, set[jex.Var]]:
    """Returns, for the images and all that depends on them, what is computed from each."""
    edges: dict[jex.Var, set[jex.Var]] = {program.invars[-1]: set()}
    for equation in program.eqns:
        operands = [atom for atom in equation.invars if isinstance(atom, jex.Var) and atom in edges]
        if operands:
            edges |= {result: set() for result in equation.outvars}
            for operand in operands:
                edges[operand].update(equation.outvars)
    return edges


def _places(program: jex.Jaxpr, cut: Collection[jex.Var]) -> tuple[tuple[int, int], ...]:
    return tuple(
        (number, result)
        for number, equation in enumerate(program.eqns)
        for result, variable in enumerate(equation.outvars)
        if variable in cut
    )


def _has_custom_vjp(equations: Iterable[jex.JaxprEqn]) -> bool:
    return any(
        equation.primitive.name.startswith("custom_vjp")
        or any(_has_custom_vjp(program.eqns) for program in inner_programs(equation))
        for equation in equations
    )


def _is_affine(flat: Program, cut: list[jex.Var], tail: list[jex.JaxprEqn], images: Any) -> bool:
    """Whether no derivative of the scores with respect to the features depends on these."""

    def slope(features: list[Array], directions: list[Array]) -> Array:
        def scores(features: list[Array]) -> Array:
            values = flat.values | dict(zip(cut, features, strict=True))
            run({}, tail, values)
            return value_of(flat.program.outvars[0], values)

        return jax.jvp(scores, (features,), (directions,))[1]

    # Varying between the same devices as the images do.
    features = [shaped_like(images, shape_of(each), dtype_of(each)) for each in cut]
    program = jax.make_jaxpr(slope)(features, features).jaxpr
    return _inputs(program).isdisjoint(program.invars[: len(cut)])


def _inputs(program: jex.Jaxpr) -> set[jex.Var]:
    """Returns the inputs that the results depend on."""
    used = {atom for atom in program.outvars if isinstance(atom, jex.Var)}
    for equation in needed(program, used):
        used |= {atom for atom in equation.invars if isinstance(atom, jex.Var)}
    return used.intersection(program.invars)
