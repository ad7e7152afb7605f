"""What a classifier does with its images, operation by operation, for methods that change it."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.extend.core import primitives

from signsal_jax._jaxpr import bind, trace
from signsal_jax._rewrite import inner_program
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax._vma import varying_like

_CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


@dataclasses.dataclass(eq=False)
class Value:
    """An array of the program.

    Attributes:
      array: its elements.
      active: whether it depends on the images.
    """

    array: Any
    active: bool

    @property
    def carries(self) -> bool:
        """Whether it depends on the images and has a derivative."""
        return self.active and jnp.issubdtype(self.array.dtype, jnp.inexact)


@dataclasses.dataclass(eq=False)
class Step:
    """An operation on values of which at least one depends on the images."""

    equation: jex.JaxprEqn
    operands: list[Value]
    results: list[Value]

    @property
    def name(self) -> str:
        """The name of the primitive; for a jitted function that is one step, its own."""
        if self.equation.primitive is primitives.jit_p:
            return self.equation.params["name"]
        return self.equation.primitive.name

    @property
    def carriers(self) -> list[Value]:
        """The operands that depend on the images and have a derivative."""
        return [operand for operand in self.operands if operand.carries]

    def operation(self, *arrays: Array) -> Any:
        """Applies the operation to other values of its carriers; several results are a list."""
        given = iter(arrays)
        return self.applied([next(given) if one.carries else one.array for one in self.operands])

    def applied(self, operands: Sequence[Any]) -> Any:
        """Applies the operation to other values of all operands."""
        # Under the settings that it was traced with.
        with self.equation.ctx.manager:
            results = bind(self.equation, *operands)
        several = self.equation.primitive.multiple_results
        return results[0] if several and len(results) == 1 else results


@runtime_checkable
class Node(Protocol):
    """A step, or several steps that are taken as one."""

    @property
    def results(self) -> list[Value]: ...

    @property
    def carriers(self) -> list[Value]: ...


NodeT = TypeVar("NodeT", bound=Node)


def pull_back(
    nodes: Sequence[NodeT],
    cotangents: dict[Value, Array],
    pull: Callable[[NodeT, list[Array]], Sequence[Array]],
) -> dict[Value, Array]:
    """Goes back through nodes and gives each value its cotangent.

    Args:
      nodes: in the order of the forward pass.
      cotangents: to begin with, such as of the logits.
      pull: from a node and its results' cotangents to those of its carriers.

    Returns:
      The cotangents of all values between the nodes that have one.
    """
    cotangents = dict(cotangents)
    for node in reversed(nodes):
        if not any(result in cotangents for result in node.results):
            continue
        given = [
            cotangents[result] if result in cotangents else _zeros_like(result.array)
            for result in node.results
        ]
        for carrier, one in zip(node.carriers, pull(node, given), strict=True):
            cotangents[carrier] = cotangents[carrier] + one if carrier in cotangents else one
    return cotangents


def _zeros_like(values: Array) -> Array:
    return varying_like(jnp.zeros_like(values), values)


@dataclasses.dataclass(frozen=True)
class Tape:
    """The steps of a classifier in their order, without those that no image changes."""

    steps: list[Step]
    images: Value
    logits: Value

    def value_at(self, value: Value, images: Array) -> Array:
        """Recomputes a value for other images."""
        known = {self.images: images}
        for step in self.steps:
            if value in known:
                break
            results = step.applied([known.get(one, one.array) for one in step.operands])
            results = results if len(step.results) > 1 else [results]
            known |= dict(zip(step.results, results, strict=True))
        return known[value]

    def readers(self) -> dict[Value, list[Step]]:
        """The steps that read each value; the logits are read by no step."""
        readers: dict[Value, list[Step]] = {}
        for step in self.steps:
            for operand in step.operands:
                readers.setdefault(operand, []).append(step)
        return readers


def record(
    apply_fn: ApplyFn, variables: Variables, images: Images, *, whole: Collection[str] = _CUSTOM
) -> Tape:
    """Runs a classifier and writes down each operation that depends on the images.

    Goes into jitted and checkpointed functions and the default of `jax.lax.platform_dependent`,
    and into functions with custom derivatives if `whole` does not name them.

    Args:
      apply_fn: the classifier.
      variables: its variables.
      images: the images.
      whole: names of primitives and of jitted functions that stay one step each.
    """
    program, _, arrays = trace(apply_fn, variables, images)
    values = [Value(array, active=False) for array in arrays]
    values[-1].active = True
    steps: list[Step] = []
    consts = [Value(const, active=False) for const in program.consts]
    (logits,) = _run(program.jaxpr, consts, values, steps, whole)
    return Tape(steps, values[-1], logits)


def _run(
    program: jex.Jaxpr,
    consts: Sequence[Value],
    args: Sequence[Value],
    steps: list[Step],
    whole: Collection[str],
) -> list[Value]:
    values: dict[jex.Var, Value] = dict(zip(program.constvars, consts, strict=True))
    values |= zip(program.invars, args, strict=True)
    platforms: set[jex.Var] = set()

    def read(atom: jex.Var | jex.Literal) -> Value:
        return Value(atom.val, active=False) if isinstance(atom, jex.Literal) else values[atom]

    for equation in program.eqns:
        operands = [read(atom) for atom in equation.invars]
        if equation.primitive.name == "platform_index":
            platforms.update(equation.outvars)
        inner = _inner(equation, platforms, whole)
        if inner is not None:
            operands = operands[len(operands) - len(inner.jaxpr.invars) :]
            constants = [Value(const, active=False) for const in inner.consts]
            results = _run(inner.jaxpr, constants, operands, steps, whole)
        else:
            results = _bound(equation, operands)
            if results[0].active:
                steps.append(Step(equation, operands, results))
        values |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in program.outvars]


def _bound(equation: jex.JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    with equation.ctx.manager:
        results = bind(equation, *(operand.array for operand in operands))
    active = any(operand.active for operand in operands)
    results = results if equation.primitive.multiple_results else [results]
    return [Value(result, active) for result in results]


def _inner(
    equation: jex.JaxprEqn, platforms: Collection[jex.Var], whole: Collection[str]
) -> jex.ClosedJaxpr | None:
    """The program that an operation runs; None for an operation that stays a step."""
    jitted = equation.primitive is primitives.jit_p
    if (equation.params["name"] if jitted else equation.primitive.name) in whole:
        return None
    if equation.primitive.name in _CUSTOM:
        return equation.params.get("call_jaxpr") or equation.params["fun_jaxpr"]
    if equation.primitive is primitives.cond_p and equation.invars[0] in platforms:
        return equation.params["branches"][-1]
    return inner_program(equation)
