"""Counts of a compiled program's products and collectives, from XLA's HLO text.

XLA's own `cost_analysis` counts the body of a loop only once; here it counts once per iteration.
"""

import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from signsal_jax.plan._chips import FLOAT32_PASSES
from signsal_jax.plan._hlo_text import (
    Computation,
    Instruction,
    array_bytes,
    attribute,
    dimensions,
    parse,
)

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
# Groups of a single device, as a list or as a shape: nothing moves.
_ALONE = r"replica_groups=(\{\{\d+\}|\[\d+,1\]<=)"


class Collective(NamedTuple):
    """All collectives of one kind: the number of runs, and the bytes moved on each device."""

    runs: int
    bytes: int
    largest_bytes: int

    def plus(self, other: "Collective", times: int) -> "Collective":
        return Collective(
            self.runs + times * other.runs,
            self.bytes + times * other.bytes,
            max(self.largest_bytes, other.largest_bytes),
        )


class Cost(NamedTuple):
    """The work of one device in one run of a program.

    Attributes:
      flops: operations of matrix products and convolutions, two per multiplication of actual
        elements (none for padding or dilation) and its addition.
      bf16_flops: the same in passes of bfloat16 units: a float32 product takes up to six.
      collectives: by kind; their bytes are the larger of input and output.
    """

    flops: int
    bf16_flops: int
    collectives: Mapping[str, Collective]

    def plus(self, other: "Cost", times: int = 1) -> "Cost":
        collectives = dict(self.collectives)
        for kind, more in other.collectives.items():
            collectives[kind] = collectives.get(kind, Collective(0, 0, 0)).plus(more, times)
        return Cost(
            self.flops + times * other.flops,
            self.bf16_flops + times * other.bf16_flops,
            collectives,
        )


_NOTHING = Cost(0, 0, {})


def _window(instruction: Instruction, key: str, count: int) -> list[str]:
    window = attribute(instruction, r"window=\{([^}]*)\}") or ""
    match = re.search(rf"(?:^| ){key}=(\S+)", window)
    defaults = {"size": "1", "stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}
    return match[1].split("x") if match else [defaults[key]] * count


def _meetings(inputs: int, outputs: int, window: list[int], low: int) -> int:
    """Counts pairs of an output and a kernel tap that meet an element, not padding or dilation."""
    size, stride, lhs_dilate, rhs_dilate = window
    extent, total = (inputs - 1) * lhs_dilate + 1, 0
    for tap in range(size):
        offsets = range(tap * rhs_dilate - low, tap * rhs_dilate - low + outputs * stride, stride)
        total += sum(0 <= place < extent and not place % lhs_dilate for place in offsets)
    return total


def _convolution_flops(instruction: Instruction, lhs: str, rhs: str) -> int:
    labels = attribute(instruction, r"dim_labels=(\S+?)(?:,|$)") or ""
    image, kernel, output = re.split("_|->", labels)
    sizes = [dimensions(shape) for shape in (lhs, rhs, instruction.shape)]
    spatial = [label for label in image if label.isdigit()]
    keys = ("size", "stride", "lhs_dilate", "rhs_dilate")
    windows = list(
        zip(*([int(n) for n in _window(instruction, k, len(spatial))] for k in keys), strict=True)
    )
    pads = _window(instruction, "pad", len(spatial))
    flops = 2 * sizes[1][kernel.index("i")]
    flops *= sizes[2][output.index("b")] * sizes[2][output.index("f")]
    for label, window, pad in zip(spatial, windows, pads, strict=True):
        inputs, outputs = sizes[0][image.index(label)], sizes[2][output.index(label)]
        flops *= _meetings(inputs, outputs, list(window), int(pad.split("_")[0]))
    return flops


def _dot_flops(instruction: Instruction, lhs: str) -> int:
    contracted = attribute(instruction, r"lhs_contracting_dims=\{([\d,]*)\}") or ""
    sizes = dimensions(lhs)
    depth = math.prod(sizes[int(axis)] for axis in contracted.split(",") if axis)
    return 2 * depth * math.prod(dimensions(instruction.shape))


def _passes(instruction: Instruction, operands: list[str]) -> int:
    if not any(shape.startswith("f32[") for shape in operands):
        return 1
    precisions = attribute(instruction, r"operand_precision=\{([\w,]*)\}") or "default"
    return max(FLOAT32_PASSES[name] for name in precisions.split(","))


def _constant(computation: Computation, name: str) -> int:
    """The value of a scalar that is a constant, or a copy of one."""
    instruction = computation.instructions[name]
    while instruction.opcode in ("copy", "bitcast", "convert"):
        instruction = computation.instructions[instruction.operands[0]]
    if instruction.opcode != "constant":
        raise ValueError(f"HLO: expected a constant, got {name} = {instruction.opcode}(...)")
    return int(instruction.arguments)


def _trip_count(
    computations: Mapping[str, Computation], caller: Computation, loop: Instruction
) -> int:
    """The number of iterations of a while loop that counts up.

    Raises:
      ValueError: it does not count from a constant to a constant in constant steps.
    """
    if known := attribute(loop, r'"known_trip_count":\{"n":"(\d+)"\}'):
        return int(known)
    condition = computations[attribute(loop, r"condition=%?([\w.\-]+)") or ""]
    body = computations[attribute(loop, r"body=%?([\w.\-]+)") or ""]
    test = condition.instructions[condition.root]
    if test.opcode != "compare" or "direction=LT" not in test.attributes:
        raise ValueError(f"HLO: expected a loop that ends at a comparison, got {test}")
    counter = condition.instructions[test.operands[0]]
    index = int(attribute(counter, r"index=(\d+)") or -1)
    if index < 0:
        raise ValueError(f"HLO: expected a loop with a counter, got {counter}")
    start = caller.instructions[loop.operands[0]].operands[index]
    step = body.instructions[body.instructions[body.root].operands[index]]
    if step.opcode != "add":
        raise ValueError(f"HLO: expected a loop that counts up, got {step}")
    stop = _constant(condition, test.operands[1])
    return -(-(stop - _constant(caller, start)) // _constant(body, step.operands[1]))


def program_cost(text: str) -> Cost:
    """Counts a compiled program's products and collectives, loops multiplied out.

    For a conditional, the most expensive branch counts.

    Args:
      text: `jax.jit(f).lower(...).compile().as_text()`, for CPU or TPU.

    Returns:
      `Cost` of one device.

    Raises:
      ValueError: text that is not an HLO program, or a loop of unknown length.

    >>> import jax, jax.numpy as jnp
    >>> a = jnp.ones((8, 16)), jnp.ones((16, 4))
    >>> program_cost(jax.jit(jnp.matmul).lower(*a).compile().as_text()).flops
    1024
    """
    computations, entry = parse(text)

    @functools.cache
    def cost(name: str) -> Cost:
        total = _NOTHING
        for instruction in computations[name].instructions.values():
            total = total.plus(own_cost(computations[name], instruction))
        return total

    def own_cost(computation: Computation, instruction: Instruction) -> Cost:
        opcode = instruction.opcode
        shapes = [computation.instructions[name].shape for name in instruction.operands]
        if opcode == "while":
            trips = _trip_count(computations, computation, instruction)
            return _NOTHING.plus(cost(attribute(instruction, r"body=%?([\w.\-]+)") or ""), trips)
        if opcode == "conditional":
            branches = re.findall(r"%([\w.\-]+)", instruction.attributes.split("metadata=")[0])
            return max((cost(branch) for branch in branches), key=lambda one: one.flops)
        if opcode in ("dot", "convolution"):
            flops = (
                _dot_flops(instruction, shapes[0])
                if opcode == "dot"
                else _convolution_flops(instruction, *shapes[:2])
            )
            return Cost(flops, flops * _passes(instruction, shapes), {})
        kind = opcode.removesuffix("-start")
        if kind in _COLLECTIVES and attribute(instruction, _ALONE):
            return _NOTHING
        if kind in _COLLECTIVES:
            moved = sum(map(array_bytes, shapes))
            produced = array_bytes(instruction.shape)
            # The result of a start includes its operands, except for all-reduce-start.
            if opcode.endswith("-start") and kind != "all-reduce":
                produced -= moved
            size = max(moved, produced)
            return Cost(0, 0, {kind: Collective(1, size, size)})
        called = attribute(instruction, r"(?:calls|to_apply)=%?([\w.\-]+)")
        return cost(called) if called else _NOTHING

    return cost(entry)
