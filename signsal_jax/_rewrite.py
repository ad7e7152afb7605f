"""Evaluating a program with some of its operations replaced."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
from jax.extend.core import primitives

from signsal_jax._jaxpr import bind

Operation = Callable[..., Any]
Rule = Callable[[jex.JaxprEqn], Operation | None]
"""Returns the replacement of an equation's operation; None leaves the operation as it is."""
Rules = Mapping[jex.Primitive, Rule]


def evaluate(rules: Rules, program: jex.Jaxpr, consts: Sequence[Any], *args: Any) -> list[Any]:
    """Evaluates a program, replacing the operations for which the rules have a replacement.

    This includes the operations in jitted and checkpointed functions, but not those inside
    `jax.lax.scan`, `cond`, `while_loop` or functions with custom derivatives.
    """
    values: dict[jex.Var, Any] = dict(zip(program.constvars, consts, strict=True))
    values |= zip(program.invars, args, strict=True)
    run(rules, program.eqns, values)
    return [value_of(atom, values) for atom in program.outvars]


def run(rules: Rules, equations: Iterable[jex.JaxprEqn], values: dict[jex.Var, Any]) -> None:
    """Applies a program's equations, or some of them, in order; adds their results to `values`."""
    for equation in equations:
        operands = [value_of(atom, values) for atom in equation.invars]
        # Restore the settings under which the operation was traced.
        with equation.ctx.manager:
            results = _operation(rules, equation)(*operands)
        if not equation.primitive.multiple_results:
            results = [results]
        values |= zip(equation.outvars, results, strict=True)


def value_of(atom: jex.Var | jex.Literal, values: Mapping[jex.Var, Any]) -> Any:
    """Returns the value of a variable or literal."""
    return atom.val if isinstance(atom, jex.Literal) else values[atom]


def own(equation: jex.JaxprEqn) -> Operation:
    """The equation's own operation."""
    return functools.partial(bind, equation)


def inner_program(equation: jex.JaxprEqn) -> jex.ClosedJaxpr | None:
    """Returns the program of a jitted or checkpointed function; None for any other operation."""
    if equation.primitive is primitives.jit_p:
        return equation.params["jaxpr"]
    if equation.primitive.name in ("remat2", "checkpoint"):  # the second in older JAX
        return jex.ClosedJaxpr(equation.params["jaxpr"], ())
    return None


# The operations of the functions with custom derivatives that cut off negative values.
_RECTIFIERS = {"relu": ["max"], "relu6": ["max", "min"]}


def rectifier(equation: jex.JaxprEqn) -> str | None:
    """Returns "relu" for `jax.nn.relu`, "relu6" for `jax.nn.relu6`, None for other operations."""
    if equation.primitive is not primitives.custom_jvp_call_p:
        return None
    program = equation.params["call_jaxpr"].jaxpr
    inner = inner_program(program.eqns[0]) if len(program.eqns) == 1 else None
    if inner is None:
        return None
    # Inside `shard_map`, constants are first said to differ between devices.
    names = [each.primitive.name for each in inner.jaxpr.eqns]
    names = [name for name in names if name not in ("pvary", "pbroadcast")]
    name = program.eqns[0].params.get("name")
    return name if name in _RECTIFIERS and names == _RECTIFIERS[name] else None


def _operation(rules: Rules, equation: jex.JaxprEqn) -> Operation:
    if equation.primitive in rules:
        return rules[equation.primitive](equation) or own(equation)
    inner = inner_program(equation)
    if inner is None:
        return own(equation)
    rewritten = functools.partial(evaluate, rules, inner.jaxpr, inner.consts)
    if equation.primitive is primitives.jit_p:
        return rewritten
    settings = {name: equation.params[name] for name in ("prevent_cse", "policy")}
    return jax.checkpoint(rewritten, **settings)
