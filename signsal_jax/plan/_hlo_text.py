"""Parsing of XLA's HLO text: computations, their instructions, shapes and attributes."""

import math
import re
from typing import NamedTuple

_HEADER = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = ")
_OPCODE = re.compile(r" *(?P<opcode>[\w\-]+)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


class Instruction(NamedTuple):
    shape: str
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str


class Computation(NamedTuple):
    instructions: dict[str, Instruction]
    root: str


def _balanced(text: str, start: int) -> int:
    """The index after the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return index + 1
    raise ValueError(f"HLO: expected balanced parentheses, got {text[:200]!r}")


def _instruction(text: str) -> Instruction:
    """Parses the text after `name = `: shape, opcode, operands, attributes."""
    end = _balanced(text, 0) if text.startswith("(") else text.index(" ")
    match = _OPCODE.match(text, end)
    if match is None:
        raise ValueError(f"HLO: expected an operation, got {text[:200]!r}")
    close = _balanced(text, match.end() - 1)
    arguments = text[match.end() : close - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
    return Instruction(text[:end], match["opcode"], operands, arguments, text[close:])


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """All computations by name, and the name of the entry."""
    computations: dict[str, Computation] = {}
    entry, name = "", ""
    instructions: dict[str, Instruction] = {}
    root = ""
    for line in text.splitlines():
        stripped = line.strip()
        if header := _HEADER.match(line):
            name, instructions = header["name"], {}
            entry = name if header["entry"] else entry
        elif stripped == "}" and name:
            computations[name] = Computation(instructions, root)
            name = ""
        elif name and (match := _NAME.match(stripped)):
            instructions[match["name"]] = _instruction(stripped[match.end() :])
            root = match["name"] if match["root"] else root
    if not entry:
        raise ValueError("HLO: expected a program with an ENTRY, got none")
    return computations, entry


def dimensions(shape: str) -> list[int]:
    match = _ARRAY.match(shape)
    if match is None:
        raise ValueError(f"HLO: expected the shape of an array, got {shape!r}")
    return [int(size) for size in match[2].split(",") if size]


def array_bytes(shape: str) -> int:
    """The bytes of an array, or of all arrays in a tuple."""
    total = 0
    for kind, sizes in _ARRAY.findall(shape):
        bits = _BITS.search(kind)
        width = int(bits[0]) if bits else 8  # pred
        total += math.prod(int(size) for size in sizes.split(",") if size) * width // 8
    return total


def attribute(instruction: Instruction, pattern: str) -> str | None:
    match = re.search(pattern, instruction.attributes)
    return match[1] if match else None
