"""The least time that a chip needs for a step: what each of its parts must do, at that part's full rate.

The parts work at once, so the slowest alone bounds the step (Williams et al. 2009, "Roofline"); a real step takes longer,
for each instruction waits for some part. All figures are of one chip and one step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bert_jax.compilers.cost import Line
from bert_jax.compilers.targets import Target


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a chip, and what a step asks of it."""

    name: str
    amount: float
    unit: str
    rate: float
    """amount a second"""

    @property
    def milliseconds(self) -> float:
        """At the full rate."""
        return 1000 * self.amount / self.rate


def parts(lines: Sequence[Line], target: Target) -> tuple[Part, ...]:
    """Matrix unit, vector unit, memory, and the links between chips, those of a host apart from the network's."""
    chip = target.chip
    near = sum(line.collective_bytes for line in lines if not crosses_hosts(line, target))
    far = sum(line.collective_bytes for line in lines if crosses_hosts(line, target))
    found = [
        Part("matrix unit", sum(line.matrix_flops for line in lines), "FLOP", chip.matrix_flops),
        Part("vector unit", sum(line.vector_ops for line in lines), "ops", chip.vector_ops),
        Part("memory", sum(line.hbm_bytes for line in lines), "B", chip.memory_rate),
    ]
    if target.count > 1:
        found.append(Part("links", near, "B", chip.link_rate))
    if chip.per_host and target.count > chip.per_host:
        found.append(Part("network", far, "B", chip.network_rate))
    return tuple(found)


def crosses_hosts(line: Line, target: Target) -> bool:
    """Whether the chips that exchange data are those of several hosts; the chips of a TPU slice share their links."""
    per_host = target.chip.per_host
    return bool(per_host) and len({chip // per_host for chip in line.group}) > 1


def bound(found: Sequence[Part]) -> Part:
    """The part that takes longest."""
    return max(found, key=lambda part: part.milliseconds)
