"""Bytes that a chip sends in the collectives of an HLO module."""

from __future__ import annotations

import dataclasses
import math
import re

from bert_jax.compilers.hlo import Computation, Instruction, Module
from bert_jax.compilers.shapes import arrays
from bert_jax.compilers.traffic import continues, result


@dataclasses.dataclass(frozen=True)
class Collective:
    """What a group of `group` chips does together, and the bytes that each of them sends for it.

    By the ring algorithm (Patarasuk and Yuan 2009), which sends least: in n - 1 steps every chip passes on one n-th.
    """

    opcode: str
    group: int
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
        group = len(re.findall(r"\{\d+,\d+\}", instruction.attributes["source_target_pairs"]))
    else:
        group = group_size(instruction.attributes.get("replica_groups", "{}"), module.devices)
    operands = sum(
        array.bytes for operand in computation.operands(instruction) for array in arrays(operand.shape)
    )
    results = sum(array.bytes for array in arrays(result(instruction)))
    if opcode == "all-reduce" and _is_scattered(computation, instruction):
        opcode = "reduce-scatter"
    return [Collective(opcode, group, round(_SENT[opcode](group) * max(operands, results)))]


# Bytes sent by the bytes of the larger of operands and results, which is what all chips of the group have together
# of a gather and a scatter.
_SENT = {
    "all-reduce": lambda group: 2 * (group - 1) / group,
    "all-gather": lambda group: (group - 1) / group,
    "reduce-scatter": lambda group: (group - 1) / group,
    "all-to-all": lambda group: (group - 1) / group,
    "collective-permute": lambda group: 1,
}


def group_size(text: str, devices: int) -> int:
    """Chips of a group by the text of `replica_groups`, in any of its spellings:

    {{0,1},{2,3}}                               each group's chips; {} is one group of all
    [2,4]<=[8]                                  2 groups of 4
    mesh['data'=4,'model'=2] {'data'}           along axes of a mesh; 'data':(1)2 is 2 of an axis

    Raises: ValueError: another spelling.
    """
    if text == "{}":
        return devices
    if listed := re.match(r"\{\{([\d,]+)\}", text):
        return len(listed[1].split(","))
    if counted := re.match(r"\[\d+,(\d+)\]<=", text):
        return int(counted[1])
    if mesh := re.match(r"mesh\[(.*)\]\s*\{(.*?)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"('[^']*')=(\d+)", mesh[1])}
        axes = re.findall(r"('[^']*')(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
    raise ValueError(f"replica_groups={text} is not a list of groups, a count or axes of a mesh")


def _is_scattered(computation: Computation, value: Instruction) -> bool:
    """Whether only this chip's part of a sum is kept: how TPU's compiler writes reduce-scatter."""
    users = computation.users[value.name]
    return bool(users) and all(
        user.opcode == "dynamic-slice"
        or (user.opcode in ("get-tuple-element", "bitcast") and _is_scattered(computation, user))
        for user in users
    )
