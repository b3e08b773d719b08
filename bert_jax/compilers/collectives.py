"""Bytes that a chip sends in the collectives of an HLO module."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

from bert_jax.compilers.hlo import Computation, Instruction, Module
from bert_jax.compilers.shapes import arrays
from bert_jax.compilers.traffic import continues, result


@dataclasses.dataclass(frozen=True)
class Collective:
    """What the chips of each group do together, and the bytes that a chip sends for it.

    By the ring algorithm (Patarasuk and Yuan 2009), which sends least: in n - 1 steps every chip passes on one n-th.

    group: the chips of the first group; the others are alike.
    """

    opcode: str
    group: tuple[int, ...]
    bytes: int


def collectives(module: Module, computation: Computation, instruction: Instruction) -> list[Collective]:
    """The collectives of an instruction: itself, or those that a fusion holds."""
    if instruction.opcode == "fusion":
        body = next(module.called(instruction, "calls"))
        started = (inner for inner in body.instructions if not continues(body, inner))
        return [found for inner in started for found in collectives(module, body, inner)]
    opcode = instruction.opcode.removesuffix("-start")
    if opcode not in _SENT:
        return []
    if opcode == "collective-permute":
        pairs = re.findall(r"\d+", instruction.attributes["source_target_pairs"])
        group = tuple(sorted(set(map(int, pairs))))
    else:
        text = instruction.attributes.get("replica_groups", "{}")
        if "device_ids" in instruction.attributes:  # printed behind a comma, but part of the groups
            text += f", device_ids={instruction.attributes['device_ids']}"
        group = first_group(text, module.devices)
    operands = sum(
        array.bytes for operand in computation.operands(instruction) for array in arrays(operand.shape)
    )
    results = sum(array.bytes for array in arrays(result(instruction)))
    if opcode == "all-reduce" and _is_scattered(computation, instruction):
        opcode = "reduce-scatter"
    return [Collective(opcode, group, round(_SENT[opcode](len(group)) * max(operands, results)))]


# Bytes sent by the bytes of the larger of operands and results, which is what all chips of the group have together
# of a gather and a scatter.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
}


def first_group(text: str, devices: int) -> tuple[int, ...]:
    """The chips of the first group by the text of `replica_groups`, in any of its spellings:

    {{0,1},{2,3}}                               each group's chips; {} is one group of all
    [4,2]<=[2,4]T(1,0)                          4 groups of 2, in the order of the transposed grid of 2 x 4 chips
    mesh['data'=4,'model'=2] {'data'}           along axes of a grid; 'data':(1)2 is 2 of an axis, after a factor of 1
    mesh['data'=4,'model'=2], device_ids=([2,4]T(1,0)) {'data'}    the same, of chips in the order of a transposed grid

    Raises: ValueError: another spelling.
    """
    if text == "{}":
        return tuple(range(devices))
    if listed := re.match(r"\{\{([\d,]+)\}", text):
        return tuple(map(int, listed[1].split(",")))
    if counted := re.fullmatch(r"\[\d+,(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        return _transposed(counted[2], counted[3])[: int(counted[1])]
    if mesh := re.fullmatch(_MESH, text):
        names, lengths = zip(*re.findall(r"('[^']*')=(\d+)", mesh[1]), strict=True)
        sizes = list(map(int, lengths))
        grid = dict(zip(names, zip(sizes, _strides(sizes), strict=True), strict=True))
        places = _chips([_part(*grid[axis], *of) for axis, *of in re.findall(_AXIS, mesh[4])])
        if not mesh[2]:
            return places
        chips = _transposed(mesh[2], mesh[3])
        return tuple(chips[place] for place in places)
    raise ValueError(f"replica_groups={text} is not a list of groups, a count or axes of a mesh")


_MESH = r"mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^{}]*)\}"
_AXIS = r"('[^']*')(?::\((\d+)\)(\d+))?"


def _part(size: int, stride: int, before: str, part: str) -> tuple[int, int]:
    """Size and stride of an axis, or of the factor `part` of its size that comes after `before`."""
    if not part:
        return size, stride
    return int(part), stride * size // (int(before) * int(part))


def _transposed(sizes_text: str, order_text: str | None) -> tuple[int, ...]:
    """The chips of a grid of these sizes, numbered along its rows, in the order of the grid with its axes in this order."""
    sizes = list(map(int, sizes_text.split(",")))
    order = list(map(int, order_text.split(","))) if order_text else range(len(sizes))
    strides = _strides(sizes)
    return _chips([(sizes[axis], strides[axis]) for axis in order])


def _strides(sizes: list[int]) -> list[int]:
    """How far apart neighbours along each axis of a row-major grid are."""
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _chips(axes: list[tuple[int, int]]) -> tuple[int, ...]:
    """The chips along axes of (size, stride), the last axis fastest, from chip 0."""
    places = itertools.product(*(range(0, size * stride, stride) for size, stride in axes))
    return tuple(map(sum, places))


def _is_scattered(computation: Computation, value: Instruction) -> bool:
    """Whether only this chip's part of a sum is kept: how TPU's compiler writes reduce-scatter."""
    users = computation.users[value.name]
    return bool(users) and all(
        user.opcode == "dynamic-slice"
        or (user.opcode in ("get-tuple-element", "bitcast") and _is_scattered(computation, user))
        for user in users
    )
