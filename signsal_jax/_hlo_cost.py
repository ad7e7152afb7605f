"""What a compiled program does: products and collectives, counted in XLA's HLO text.

XLA's own `cost_analysis` counts the body of a loop once; here it counts as often as it runs.
"""

import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from signsal_jax._chips import FLOAT32_PASSES

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
_HEADER = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = ")
_OPCODE = re.compile(r" *(?P<opcode>[\w\-]+)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


class Collective(NamedTuple):
    """All collectives of one kind: how often one runs, and what they move on each device."""

    count: int
    bytes: int
    largest_bytes: int

    def plus(self, other: "Collective", times: int) -> "Collective":
        return Collective(
            self.count + times * other.count,
            self.bytes + times * other.bytes,
            max(self.largest_bytes, other.largest_bytes),
        )


class Cost(NamedTuple):
    """What one device does in one run of a program.

    Attributes:
      flops: of matrix products and convolutions, two for each multiplication of actual elements
        (none for padding or dilation) and its addition.
      bf16_flops: the same in passes of bfloat16 units: float32 at its precision takes up to six.
      collectives: by kind; bytes of the larger of what goes in and what comes out.
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


class _Instruction(NamedTuple):
    shape: str
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str


class _Computation(NamedTuple):
    instructions: dict[str, _Instruction]
    root: str


def _balanced(text: str, start: int) -> int:
    """The index after the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return index + 1
    raise ValueError(f"HLO: expected balanced parentheses, got {text[:200]!r}")


def _instruction(text: str) -> _Instruction:
    """Reads what follows `name = `: shape, opcode, operands, attributes."""
    end = _balanced(text, 0) if text.startswith("(") else text.index(" ")
    match = _OPCODE.match(text, end)
    if match is None:
        raise ValueError(f"HLO: expected an operation, got {text[:200]!r}")
    close = _balanced(text, match.end() - 1)
    arguments = text[match.end() : close - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
    return _Instruction(text[:end], match["opcode"], operands, arguments, text[close:])


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    """All computations by name, and the name of the entry."""
    computations: dict[str, _Computation] = {}
    entry, name = "", ""
    instructions: dict[str, _Instruction] = {}
    root = ""
    for line in text.splitlines():
        stripped = line.strip()
        if header := _HEADER.match(line):
            name, instructions = header["name"], {}
            entry = name if header["entry"] else entry
        elif stripped == "}" and name:
            computations[name] = _Computation(instructions, root)
            name = ""
        elif name and (match := _NAME.match(stripped)):
            instructions[match["name"]] = _instruction(stripped[match.end() :])
            root = match["name"] if match["root"] else root
    if not entry:
        raise ValueError("HLO: expected a program with an ENTRY, got none")
    return computations, entry


def _dimensions(shape: str) -> list[int]:
    match = _ARRAY.match(shape)
    if match is None:
        raise ValueError(f"HLO: expected the shape of an array, got {shape!r}")
    return [int(size) for size in match[2].split(",") if size]


def _bytes(shape: str) -> int:
    """Of an array, or of all arrays in a tuple."""
    total = 0
    for kind, sizes in _ARRAY.findall(shape):
        bits = _BITS.search(kind)
        width = int(bits[0]) if bits else 8  # pred
        total += math.prod(int(size) for size in sizes.split(",") if size) * width // 8
    return total


def _attribute(instruction: _Instruction, pattern: str) -> str | None:
    match = re.search(pattern, instruction.attributes)
    return match[1] if match else None


def _window(instruction: _Instruction, key: str, count: int) -> list[str]:
    window = _attribute(instruction, r"window=\{([^}]*)\}") or ""
    match = re.search(rf"(?:^| ){key}=(\S+)", window)
    defaults = {"size": "1", "stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}
    return match[1].split("x") if match else [defaults[key]] * count


def _meetings(inputs: int, outputs: int, window: list[int], low: int) -> int:
    """How many pairs of an output and a tap meet an element, neither padding nor dilation."""
    size, stride, lhs_dilate, rhs_dilate = window
    extent, total = (inputs - 1) * lhs_dilate + 1, 0
    for tap in range(size):
        offsets = range(tap * rhs_dilate - low, tap * rhs_dilate - low + outputs * stride, stride)
        total += sum(0 <= place < extent and not place % lhs_dilate for place in offsets)
    return total


def _convolution_flops(instruction: _Instruction, lhs: str, rhs: str) -> int:
    labels = _attribute(instruction, r"dim_labels=(\S+?)(?:,|$)") or ""
    image, kernel, output = re.split("_|->", labels)
    sizes = [_dimensions(shape) for shape in (lhs, rhs, instruction.shape)]
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


def _dot_flops(instruction: _Instruction, lhs: str) -> int:
    contracted = _attribute(instruction, r"lhs_contracting_dims=\{([\d,]*)\}") or ""
    sizes = _dimensions(lhs)
    depth = math.prod(sizes[int(axis)] for axis in contracted.split(",") if axis)
    return 2 * depth * math.prod(_dimensions(instruction.shape))


def _passes(instruction: _Instruction, operands: list[str]) -> int:
    if not any(shape.startswith("f32[") for shape in operands):
        return 1
    precisions = _attribute(instruction, r"operand_precision=\{([\w,]*)\}") or "default"
    return max(FLOAT32_PASSES[name] for name in precisions.split(","))


def _constant(computation: _Computation, name: str) -> int:
    """The value of a scalar that is a constant, or a copy of one."""
    instruction = computation.instructions[name]
    while instruction.opcode in ("copy", "bitcast", "convert"):
        instruction = computation.instructions[instruction.operands[0]]
    if instruction.opcode != "constant":
        raise ValueError(f"HLO: expected a constant, got {name} = {instruction.opcode}(...)")
    return int(instruction.arguments)


def _trip_count(
    computations: Mapping[str, _Computation], caller: _Computation, loop: _Instruction
) -> int:
    """How often a while loop that counts up runs.

    Raises:
      ValueError: it does not count from a constant to a constant in constant steps.
    """
    if known := _attribute(loop, r'"known_trip_count":\{"n":"(\d+)"\}'):
        return int(known)
    condition = computations[_attribute(loop, r"condition=%?([\w.\-]+)") or ""]
    body = computations[_attribute(loop, r"body=%?([\w.\-]+)") or ""]
    test = condition.instructions[condition.root]
    if test.opcode != "compare" or "direction=LT" not in test.attributes:
        raise ValueError(f"HLO: expected a loop that ends at a comparison, got {test}")
    counter = condition.instructions[test.operands[0]]
    index = int(_attribute(counter, r"index=(\d+)") or -1)
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

    Of a conditional, the most expensive branch counts.

    Args:
      text: `jax.jit(f).lower(...).compile().as_text()`, for CPU or TPU.

    Returns:
      `Cost` of one device.

    Raises:
      ValueError: text that is no HLO program, or a loop whose length is not known.

    >>> import jax, jax.numpy as jnp
    >>> a = jnp.ones((8, 16)), jnp.ones((16, 4))
    >>> program_cost(jax.jit(jnp.matmul).lower(*a).compile().as_text()).flops
    1024
    """
    computations, entry = _parse(text)

    @functools.cache
    def cost(name: str) -> Cost:
        total = _NOTHING
        for instruction in computations[name].instructions.values():
            total = total.plus(own_cost(computations[name], instruction))
        return total

    def own_cost(computation: _Computation, instruction: _Instruction) -> Cost:
        opcode = instruction.opcode
        shapes = [computation.instructions[name].shape for name in instruction.operands]
        if opcode == "while":
            trips = _trip_count(computations, computation, instruction)
            return _NOTHING.plus(cost(_attribute(instruction, r"body=%?([\w.\-]+)") or ""), trips)
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
        if kind in _COLLECTIVES:
            moved = sum(map(_bytes, shapes))
            produced = _bytes(instruction.shape)
            # The result of a start holds its operands too, all-reduce-start's excepted.
            if opcode.endswith("-start") and kind != "all-reduce":
                produced -= moved
            size = max(moved, produced)
            return Cost(0, 0, {kind: Collective(1, size, size)})
        called = _attribute(instruction, r"(?:calls|to_apply)=%?([\w.\-]+)")
        return cost(called) if called else _NOTHING

    return cost(entry)
