"""Bytes that an HLO instruction reads from HBM and writes there.

An instruction reads its operands and writes its results, each once: what a fusion holds in between stays on the chip.
Less than an operand is read where only a part of it is taken, and less than a result is written where an update is in
place. Sizes are those in memory, with what a TPU's tiles add.
"""

from __future__ import annotations

from collections.abc import Set

from bert_jax.compilers.hlo import Computation, Instruction, Module
from bert_jax.compilers.shapes import ShapeTree, arrays

_FREE = frozenset({
    "after-all", "bitcast", "constant", "get-tuple-element", "opt-barrier", "parameter", "partition-id",
    "replica-id", "tuple",
})  # fmt: skip
_FREE_CALLS = frozenset({"AllocateBuffer", "ConcatBitcast"})  # of TPU's compiler: names for memory
_TAKES_A_PART = frozenset({"slice", "dynamic-slice", "gather"})
_UPDATES = frozenset({"dynamic-update-slice", "scatter"})


def is_free(instruction: Instruction) -> bool:
    """Whether nothing runs: a name for memory, or the end of what an earlier instruction started."""
    return (
        instruction.opcode in _FREE
        or instruction.opcode.endswith(("-done", "-update"))
        or instruction.target in _FREE_CALLS
    )


def result(instruction: Instruction) -> ShapeTree:
    """The shape of what an instruction computes: of an asynchronous start, not what it carries to its end."""
    shape = instruction.shape
    if isinstance(shape, tuple):
        match instruction.opcode:
            case "copy-start":  # (destination, source, context)
                return shape[0]
            case opcode if (
                opcode.endswith("-start") and opcode != "all-reduce-start"
            ):  # (operands, result, ...)
                return shape[1]
            case "custom-call" if instruction.target.startswith("__cu"):  # cuBLAS, cuDNN: the last is scratch
                return shape[:-1]
    return shape


def continues(body: Computation, instruction: Instruction) -> bool:
    """Whether `instruction` of a fusion is a collective that an earlier fusion started.

    TPU's compiler overlaps a collective with a chain of fusions, each of which holds a copy of it. The first, which also
    calls AsyncCollectiveStart, pays; the others pass on its buffers.
    """
    is_chained = "chain_id" in instruction.attributes.get("frontend_attributes", "")
    return is_chained and not any(inner.target == "AsyncCollectiveStart" for inner in body.instructions)


def bytes_read(
    module: Module, computation: Computation, instruction: Instruction, hbm: Set[int] = frozenset({0})
) -> int:
    """Bytes of operands taken from the memory spaces `hbm`; an operand given twice is read once."""
    total = 0
    for name in dict.fromkeys(instruction.operands):
        whole = _size(computation.by_name[name].shape, hbm)
        total += min(whole, _taken(module, computation, instruction, name)) if whole else 0
    return total


def bytes_written(
    module: Module, computation: Computation, instruction: Instruction, hbm: Set[int] = frozenset({0})
) -> int:
    """Bytes of results put into the memory spaces `hbm`."""
    shapes = arrays(result(instruction))
    sizes = _written(module, computation, instruction)
    return sum(size for shape, size in zip(shapes, sizes, strict=True) if shape.memory in hbm)


def _size(shape: ShapeTree, hbm: Set[int] | None = None) -> int:
    return sum(array.stored_bytes for array in arrays(shape) if hbm is None or array.memory in hbm)


def _update_sizes(computation: Computation, instruction: Instruction) -> list[int]:
    """Bytes of the update of each array that a dynamic-update-slice or a scatter changes."""
    operands = computation.operands(instruction)
    if instruction.opcode.startswith("scatter"):  # n arrays, indices, n updates
        return [_size(update.shape) for update in operands[len(operands) // 2 + 1 :]]
    return [_size(operands[1].shape)]


def _taken(module: Module, computation: Computation, instruction: Instruction, name: str) -> int:
    """Bytes that an instruction takes of the operand `name`, which may stand in several places."""
    whole = _size(computation.by_name[name].shape)
    places = [place for place, operand in enumerate(instruction.operands) if operand == name]
    taken = (_taken_at(module, computation, instruction, place) for place in places)
    return sum(whole if part is None else part for part in taken)


def _taken_at(module: Module, computation: Computation, instruction: Instruction, place: int) -> int | None:
    """Bytes taken of the operand at a place; None: all.

    Of the array that it updates, a scatter reads what it adds to, a dynamic-update-slice nothing.
    """
    opcode = instruction.opcode.removesuffix("-start")
    if opcode in _TAKES_A_PART and place == 0:
        return _size(result(instruction))
    if opcode in _UPDATES:
        sizes = _update_sizes(computation, instruction)
        return None if place >= len(sizes) else sizes[place] if opcode == "scatter" else 0
    if opcode == "fusion":
        body = next(module.called(instruction, "calls"))
        return _taken_inside(module, body, body.parameters[place].name)
    return None


def _taken_inside(module: Module, body: Computation, name: str) -> int | None:
    """Bytes that a fusion takes of the value `name` inside it; None: all."""
    if name == body.root.name:
        return None
    total = 0
    part: int | None
    for user in body.users[name]:
        if user.opcode == "tuple" or _passes_on(body, user):
            part = 0
        elif user.opcode == "bitcast":
            part = _taken_inside(module, body, user.name)
        elif user.opcode in _UPDATES and user.name not in {output.name for output in _outputs(body)}:
            part = None  # not in place: the fusion goes on with the whole array
        else:
            part = _taken(module, body, user, name)
        if part is None:
            return None
        total += part
    return total


def _written(module: Module, computation: Computation, instruction: Instruction) -> list[int]:
    """Bytes written of each array of the result; of an array that is updated in place, of the update."""
    opcode = instruction.opcode.removesuffix("-start")
    if opcode in _UPDATES:
        return _update_sizes(computation, instruction)
    if opcode == "fusion":
        body = next(module.called(instruction, "calls"))
        return [size for output in _outputs(body) for size in _written_inside(module, body, output)]
    return [array.stored_bytes for array in arrays(result(instruction))]


def _written_inside(module: Module, body: Computation, output: Instruction) -> list[int]:
    """Bytes written of each array of an output of a fusion."""
    if _passes_on(body, output):
        return [0] * len(arrays(output.shape))
    if output.target == "AsyncCollectiveStart" and isinstance(output.shape, tuple):
        operands, results, *counters = (arrays(part) for part in output.shape)
        return [
            *(0 for _ in operands),
            *(array.stored_bytes for array in results),
            *(0 for _ in counters),
        ]
    return _written(module, body, output)


def _passes_on(body: Computation, instruction: Instruction) -> bool:
    """Whether a fusion's result is memory that it was given, unchanged."""
    return (
        instruction.opcode == "parameter"
        or instruction.target == "AsyncCollectiveDone"
        or continues(body, instruction)
    )


def _outputs(body: Computation) -> list[Instruction]:
    """What computes each result of a fusion: its root or the root's parts, behind bitcasts."""
    outputs = list(body.operands(body.root)) if body.root.opcode == "tuple" else [body.root]
    for place, output in enumerate(outputs):
        while output.opcode == "bitcast":
            (output,) = body.operands(output)
        outputs[place] = output
    return outputs
