"""A classifier as one flat program, parts of which can be run."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._jaxpr import trace
from signsal_jax._rewrite import evaluate
from signsal_jax._types import ApplyFn, Variables


class Program(NamedTuple):
    """A classifier's operations, those in jitted functions included, and its inputs' values."""

    program: jex.Jaxpr
    values: dict[jex.Var, Any]

    def at(self, places: Iterable[tuple[int, int]]) -> list[jex.Var]:
        """Returns the variables at the places of a cut."""
        try:
            return [self.program.eqns[number].outvars[result] for number, result in places]
        except IndexError:
            raise ValueError(
                "apply_fn: expected the same operations for any number of images, got others: "
                'through="scores" does without'
            ) from None


def flat_program(apply_fn: ApplyFn, variables: Variables, images: Any) -> Program:
    def classify(variables: Any, images: Any) -> Array:
        logits = apply_fn(variables, images)
        _checks.check_logits(logits, images.shape[0])
        return logits

    program, _, arrays = trace(classify, variables, images)

    def inlined(arrays: list[Any]) -> list[Any]:
        return evaluate({}, program.jaxpr, program.consts, *arrays)

    flat = jax.make_jaxpr(inlined)(arrays)
    values = dict(zip(flat.jaxpr.constvars, flat.consts, strict=True))
    values |= zip(flat.jaxpr.invars, arrays, strict=True)
    return Program(flat.jaxpr, values)


def needed(
    program: jex.Jaxpr,
    wanted: Iterable[Any],
    stop: Collection[jex.Var] = (),
    *,
    effects: bool = False,
) -> list[jex.JaxprEqn]:
    """Returns the operations that the wanted variables are computed by, from `stop` on.

    With `effects`, also those that print or call back.
    """
    wanted = {atom for atom in wanted if isinstance(atom, jex.Var)} - {*stop}
    equations = []
    for equation in reversed(program.eqns):
        if (effects and equation.effects) or not wanted.isdisjoint(equation.outvars):
            equations.append(equation)
            operands = {atom for atom in equation.invars if isinstance(atom, jex.Var)}
            wanted |= operands - {*stop}
    return equations[::-1]


def shape_of(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())


def dtype_of(variable: Any) -> Any:
    return getattr(variable.aval, "dtype", np.dtype(np.int32))
