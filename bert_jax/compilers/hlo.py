"""The text of an optimised HLO module (`compiled.as_text()`) as data.

A module is a list of computations, one of them the entry. A computation is a list of instructions in the order in
which they run, each used by name after it is defined:

    ENTRY %main (p: f32[8,4]) -> f32[8] {
      %p = f32[8,4]{1,0:T(8,128)S(1)} parameter(0)
      ROOT %sum = f32[8]{0} reduce(%p, %zero), dimensions={1}, to_apply=%add, metadata={op_name="jit(f)/sum"}
    }

The grammar is that of XLA's HLO parser (openxla/xla, xla/hlo/parser); TPU, GPU and CPU compilers print it alike and
differ in what they put into layouts and backend configs. Tables of source locations are skipped.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bert_jax.compilers.shapes import ShapeTree, shape_at

_COMMENT = re.compile(r"/\*index=\d+\*/")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .* )?\{$")
_END = re.compile(r"\}(?:, execution_thread=.*)?")
_NAME = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([\w\-]+)\(")
_OPERAND = re.compile(r"(?:.*\s)?%?([\w.\-]+)", re.DOTALL)
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[(){}\[\],]')
_REFERENCE = re.compile(r"%?([\w.\-]+)")

# Opcodes whose parentheses hold a number or a value instead of operands.
_LITERAL = {"parameter", "constant"}
# Attributes that name computations.
_CALLS = {
    "calls", "to_apply", "body", "condition", "branch_computations", "true_computation", "false_computation",
    "called_computations", "select", "scatter",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    operands: names of instructions of the same computation.
    literal: what stands in place of operands: the number of a parameter, the value of a constant.
    called: names of computations by the attribute that names them, such as {"body": ("b",), "condition": ("c",)}.
    attributes: the text of the others but metadata, by name.
    op_name: where the program asked for it, such as "jit(step)/jvp(attention)/dot_general"; "": not said.
    """

    name: str
    opcode: str
    shape: ShapeTree
    operands: tuple[str, ...] = ()
    literal: str = ""
    called: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    op_name: str = ""

    @property
    def target(self) -> str:
        """What a custom call calls; "": it is no custom call."""
        return self.attributes.get("custom_call_target", "").strip('"')

    @functools.cached_property
    def backend_config(self) -> Mapping[str, Any]:
        """What the compiler noted for its backend; {}: nothing, or nothing that is JSON."""
        text = self.attributes.get("backend_config", "")
        try:
            value = json.loads(text)
            value = json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions in the order in which they run; `root` is the one whose value is the computation's."""

    name: str
    instructions: tuple[Instruction, ...]
    root: Instruction

    @functools.cached_property
    def by_name(self) -> Mapping[str, Instruction]:
        return {instruction.name: instruction for instruction in self.instructions}

    @functools.cached_property
    def parameters(self) -> tuple[Instruction, ...]:
        """The parameters by their number."""
        found = [instruction for instruction in self.instructions if instruction.opcode == "parameter"]
        return tuple(sorted(found, key=lambda parameter: int(parameter.literal)))

    @functools.cached_property
    def users(self) -> Mapping[str, tuple[Instruction, ...]]:
        """The instructions that read each, by its name."""
        found: dict[str, list[Instruction]] = {name: [] for name in self.by_name}
        for instruction in self.instructions:
            for operand in dict.fromkeys(instruction.operands):
                found[operand].append(instruction)
        return {name: tuple(users) for name, users in found.items()}

    def operands(self, instruction: Instruction) -> tuple[Instruction, ...]:
        """The instructions whose values `instruction` takes."""
        return tuple(self.by_name[name] for name in instruction.operands)


@dataclasses.dataclass(frozen=True)
class Module:
    """A program for one device of `devices`, all of which run it."""

    computations: Mapping[str, Computation]
    entry: Computation
    devices: int = 1

    def called(self, instruction: Instruction, *roles: str) -> Iterator[Computation]:
        """The computations that an instruction calls, such as its "condition" and its "body"."""
        for role in roles:
            yield from (self.computations[name] for name in instruction.called.get(role, ()))


def parse(text: str) -> Module:
    """The module that `text` prints.

    Raises: ValueError: a line that is not HLO, with its number; a name that is not defined; no entry.
    """
    computations: dict[str, Computation] = {}
    entry, devices = "", 1
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if line.startswith("HloModule "):
            counts = re.findall(r"\b(?:replica_count|num_partitions)=(\d+)", line)
            devices = math.prod(map(int, counts))
        elif line.endswith("{"):
            match = _COMPUTATION.match(line)
            if match is None:
                raise ValueError(f"line {number}: not the head of a computation: {line}")
            computations[match[2]] = _computation(match[2], lines, number)
            entry = match[2] if match[1] else entry
    if not entry:
        raise ValueError("an HLO module needs an ENTRY computation; there is none")
    _check_calls(computations)
    return Module(computations, computations[entry], devices)


def _computation(name: str, lines: Iterator[tuple[int, str]], start: int) -> Computation:
    """Reads the lines of a computation up to its closing brace."""
    instructions: list[Instruction] = []
    defined: set[str] = set()
    root = None
    for number, text in _statements(name, lines, start):
        try:
            instruction, is_root = _instruction(_COMMENT.sub("", text))
            if unknown := [operand for operand in instruction.operands if operand not in defined]:
                raise ValueError(f"{unknown[0]} is used before it is defined")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}: {text.strip()}") from None
        defined.add(instruction.name)
        instructions.append(instruction)
        root = instruction if is_root else root
    if root is None:
        raise ValueError(f"line {start}: computation {name} has no ROOT")
    return Computation(name, tuple(instructions), root)


def _statements(name: str, lines: Iterator[tuple[int, str]], start: int) -> Iterator[tuple[int, str]]:
    """The instructions of a computation with their line numbers; an indented line begins one.

    A Pallas kernel's metadata stand on lines of their own, which begin with a quote or a brace.
    """
    begun, text = start, ""
    for number, line in lines:
        if not line.strip():
            continue
        is_end = _END.fullmatch(line)
        if text and (is_end or line.startswith(" ")):
            yield begun, text
            begun, text = number, ""
        if is_end:
            return
        begun, text = (begun, text + line) if text else (number, line)
    raise ValueError(f"line {start}: computation {name} has no closing brace")


def _check_calls(computations: Mapping[str, Computation]) -> None:
    for computation in computations.values():
        for instruction in computation.instructions:
            for name in (name for names in instruction.called.values() for name in names):
                if name not in computations:
                    raise ValueError(f"{instruction.name} calls {name}, which the module does not define")


def _instruction(line: str) -> tuple[Instruction, bool]:
    """The instruction of a line, and whether it is the root."""
    head = _NAME.match(line)
    if head is None:
        raise ValueError("not an instruction")
    shape, position = shape_at(line, head.end())
    opcode = _OPCODE.match(line, position)
    if opcode is None:
        raise ValueError("no opcode after the shape")
    inside, position = _parts(line, opcode.end(), ")")
    attributes: dict[str, str] = {}
    for part in _parts(line, position, "")[0]:
        key, separator, value = part.strip().partition("=")
        if not separator:
            raise ValueError(f"the attribute {part.strip()!r} has no value")
        attributes[key] = value
    op_name = _OP_NAME.search(attributes.pop("metadata", ""))
    is_literal = opcode[1] in _LITERAL
    instruction = Instruction(
        name=head[2],
        opcode=opcode[1],
        shape=shape,
        operands=() if is_literal else tuple(map(_operand, inside)),
        literal=",".join(inside) if is_literal else "",
        called={key: tuple(_REFERENCE.findall(value)) for key, value in attributes.items() if key in _CALLS},
        attributes={key: value for key, value in attributes.items() if key not in _CALLS},
        op_name=op_name[1] if op_name else "",
    )
    return instruction, bool(head[1])


def _operand(text: str) -> str:
    """The name of an operand, printed with its shape or without."""
    match = _OPERAND.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is not an operand")
    return match[1]


def _parts(line: str, start: int, end: str) -> tuple[list[str], int]:
    """What stands between commas from `start` to the unmatched `end` ("": the end of the line), and where that is."""
    parts, depth, begin = [], 0, start
    for match in _NESTING.finditer(line, start):
        token = match[0]
        if token in ("(", "{", "["):
            depth += 1
        elif token == end and depth == 0:
            parts.append(line[begin : match.start()])
            return [part for part in parts if part.strip()], match.end()
        elif token in (")", "}", "]"):
            depth -= 1
        elif token == "," and depth == 0:
            parts.append(line[begin : match.start()])
            begin = match.end()
    if end or depth:
        raise ValueError(f"no matching {end or 'bracket'}")
    parts.append(line[begin:])
    return [part for part in parts if part.strip()], len(line)
