"""What each instruction of an optimised HLO module costs: arithmetic, HBM traffic, collectives."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

from bert_jax.compilers.collectives import collectives
from bert_jax.compilers.flops import is_known, matrix_flops, vector_ops
from bert_jax.compilers.hlo import Computation, Instruction, Module
from bert_jax.compilers.traffic import bytes_read, bytes_written, is_free

# The kinds of work, by the named scopes of models/ and training/.
_KINDS = {
    "dropout": "dropout",
    "norm": "norm",
    "attention": "attention",
    "mlp": "mlp",
    "mlm_head": "head",
    "pair_head": "head",
    "rtd_head": "head",
    "task_head": "head",
    "pooler": "head",
    "embeddings": "embeddings",
    "loss": "head",
    "residual": "residual",
    "optimizer": "optimizer",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """An instruction that runs, and what all of its runs cost together.

    trips: how often it runs.
    known: False where it may cost more: a loop around it whose trips the module does not tell counts as one trip, and a
        kernel that does not say its FLOPs as none.
    kind: part of a training step: a value of `kind_of`.
    matrix_flops: multiplications and additions of matmuls and convolutions.
    vector_ops: elementwise operations and reductions, one an element (see flops.vector_ops).
    hbm_read, hbm_written: bytes.
    collective: what chips do together, such as "all-gather", be it in a fusion; "": nothing.
    group: the chips of the first group that does it.
    collective_bytes: bytes that a chip sends for it.
    """

    instruction: Instruction
    kind: str
    trips: int
    known: bool
    matrix_flops: int
    vector_ops: int
    hbm_read: int
    hbm_written: int
    collective: str
    group: tuple[int, ...]
    collective_bytes: int

    @property
    def hbm_bytes(self) -> int:
        """Read and written."""
        return self.hbm_read + self.hbm_written


def count(module: Module, *, hbm: Set[int] = frozenset({0})) -> tuple[Line, ...]:
    """A line for each instruction that runs, those of loops and of the costliest branches included.

    hbm: the memory spaces that are HBM. On a TPU 0 alone (1 is VMEM); on a GPU 0, 1 (buffers of collectives) and 2.
    """
    return tuple(_Counter(module, hbm).lines(module.entry, trips=1, known=True))


def totals(lines: Iterable[Line]) -> dict[str, Any]:
    """Sums of all lines; `hbm_bytes_by` kind; `unknown_lines` counts those that may cost more."""
    names = ("matrix_flops", "vector_ops", "hbm_read", "hbm_written", "collective_bytes")
    sums: collections.Counter[str] = collections.Counter(dict.fromkeys((*names, "unknown_lines"), 0))
    by_kind: collections.Counter[str] = collections.Counter()
    for line in lines:
        sums.update({name: getattr(line, name) for name in names})
        sums["unknown_lines"] += not line.known
        by_kind[line.kind] += line.hbm_bytes
    total = sums["hbm_read"] + sums["hbm_written"]
    return {**sums, "hbm_bytes": total, "hbm_bytes_by": dict(by_kind.most_common())}


def kind_of(op_name: str) -> str:
    """dropout, norm, attention, mlp, residual, head, embeddings, optimizer, by the innermost named scope that says; or other.

    Scopes of the backward pass stand inside transformations, such as "transpose(jvp(attention))"; jit(norm) is a
    function's name and no scope.
    """
    for part in reversed(op_name.split("/")):
        scope = part.rstrip(")").rpartition("(")[2].partition(".")[0]
        if "jit(" not in part and scope in _KINDS:
            return _KINDS[scope]
    return "other"


@dataclasses.dataclass(frozen=True)
class _Counter:
    """Walks through what a module runs."""

    module: Module
    hbm: Set[int]

    def lines(self, computation: Computation, *, trips: int, known: bool) -> Iterator[Line]:
        """The lines of a computation that runs `trips` times."""
        for instruction in computation.instructions:
            match instruction.opcode:
                case "while":
                    times = trip_count(self.module, instruction)
                    inside = trips * (1 if times is None else times)
                    for body in self.module.called(instruction, "condition", "body"):
                        yield from self.lines(body, trips=inside, known=known and times is not None)
                case "conditional":
                    roles = ("branch_computations", "true_computation", "false_computation")
                    branches = [
                        list(self.lines(branch, trips=trips, known=known))
                        for branch in self.module.called(instruction, *roles)
                    ]
                    yield from max(branches, key=_bytes_and_flops)
                case "call" | "call-start" | "async-start":
                    for body in self.module.called(instruction, "to_apply", "calls"):
                        yield from self.lines(body, trips=trips, known=known)
                case _ if not is_free(instruction):
                    yield self._line(computation, instruction, trips, known)

    def _line(self, computation: Computation, instruction: Instruction, trips: int, known: bool) -> Line:
        place = (self.module, computation, instruction)
        together = collectives(*place)
        kinds = map(kind_of, _op_names(*place))
        return Line(
            instruction=instruction,
            kind=next((kind for kind in kinds if kind != "other"), "other"),
            trips=trips,
            known=known and is_known(instruction),
            matrix_flops=trips * matrix_flops(*place),
            vector_ops=trips * vector_ops(*place),
            hbm_read=trips * bytes_read(*place, self.hbm),
            hbm_written=trips * bytes_written(*place, self.hbm),
            collective=together[0].opcode if together else "",
            group=together[0].group if together else (),
            collective_bytes=trips * sum(collective.bytes for collective in together),
        )


def trip_count(module: Module, loop: Instruction) -> int | None:
    """How often a `while` runs its body: as the compiler noted it, else by its condition; None: neither tells.

    A condition tells if it is i < n with n its only whole number: loops of jax count from 0 in steps of 1.
    """
    noted = loop.backend_config.get("known_trip_count")
    if noted:
        return int(noted["n"])
    (condition,) = module.called(loop, "condition")
    fused = (body for instruction in condition.instructions for body in module.called(instruction, "calls"))
    instructions = [instruction for body in (condition, *fused) for instruction in body.instructions]
    directions = [i.attributes.get("direction") for i in instructions if i.opcode == "compare"]
    numbers = [i.literal for i in instructions if i.opcode == "constant" and i.literal.isdigit()]
    return int(numbers[0]) if directions == ["LT"] and len(numbers) == 1 else None


def _op_names(module: Module, computation: Computation, instruction: Instruction) -> list[str]:
    """Where the program asked for an instruction, and then for what a fusion holds, its root first.

    One that does not say, such as a copy that the compiler added, belongs to what uses it first; a copy of a result, which
    nothing uses, to what made it.
    """

    def first(neighbours: Callable[[Instruction], Sequence[Instruction]]) -> list[str]:
        waiting, seen = collections.deque([instruction]), {instruction.name}
        while waiting:
            candidate = waiting.popleft()
            bodies = module.called(candidate, "calls")
            inside = (inner.op_name for body in bodies for inner in reversed(body.instructions))
            if names := list(filter(None, (candidate.op_name, *inside))):
                return names
            found = [one for one in neighbours(candidate) if one.name not in seen]
            seen.update(one.name for one in found)
            waiting.extend(found)
        return []

    return first(lambda one: computation.users[one.name]) or first(computation.operands)


def _bytes_and_flops(lines: list[Line]) -> tuple[int, int]:
    return (
        sum(line.hbm_bytes for line in lines),
        sum(line.matrix_flops + line.vector_ops for line in lines),
    )
