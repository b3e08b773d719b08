"""How a step grows over more chips of a kind, by what its compiler makes of it for each number of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from bert_jax.benchmarks.compile import compiled
from bert_jax.compilers import targets
from bert_jax.compilers.cost import count, totals
from bert_jax.compilers.hlo import parse
from bert_jax.compilers.report import Table, show
from bert_jax.compilers.roofline import bound, parts
from bert_jax.config import PretrainConfig
from bert_jax.errors import UsageError

_LINKS = ("links", "network")
_PUBLISHED = "Published: NVIDIA's BERT-large from 8 to 256 A100 95 %, MLPerf's from 8 to 64 H100 96 %."


def measure(config: PretrainConfig, *, target: str) -> dict[str, Any]:
    """Compiles the step of `config`, which has no phases, for each of the targets, with equal rows a chip; prints a table.

    The efficiency is that of a step in which nothing is computed while chips exchange: the least to expect. The batch of
    `config` is the first target's.

    target: names with commas between, such as "v5e:2x4,v5e:8x8".

    Raises: as `benchmarks.compile.measure`; UsageError also for a single target, or chips of two kinds.
    """
    machines = [targets.parse(name) for name in target.split(",")]
    if len(machines) < 2 or len({machine.chip.name for machine in machines}) > 1:
        raise UsageError(
            f"--target {target!r} must be several numbers of one kind of chip, as in v5e:2x4,v5e:8x8"
        )
    targets.check_compiler(machines[0])
    rows = config.train.batch_size / machines[0].count
    found = [_counted(config, machine, round(rows * machine.count)) for machine in machines]
    header = ("target", "batch", "computing ms", "sent B", "sending ms", "efficiency %")
    lines = [
        (
            each["target"], f"{each['batch'][0]}", f"{each['computing_ms']:.2f}", f"{each['collective_bytes'] / 1e6:,.1f} M",
            f"{each['sending_ms']:.2f}", f"{100 * each['efficiency']:.1f}",
        )
        for each in found
    ]  # fmt: skip
    show([Table(f"A chip's share of a step of {config.model.preset}, {rows:g} rows a chip", header, lines)])
    print(_PUBLISHED)
    return {"model": config.model.preset, "targets": found}


def _counted(config: PretrainConfig, machine: targets.Target, batch_size: int) -> dict[str, Any]:
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch_size))
    lines = count(parse(compiled(config, machine).text), hbm=machine.memory_spaces)
    every = parts(lines, machine)
    computing = bound([part for part in every if part.name not in _LINKS]).milliseconds
    sending = sum(part.milliseconds for part in every if part.name in _LINKS)
    return {
        "target": machine.name,
        "batch": [batch_size, config.data.sequence_length],
        "computing_ms": computing,
        "collective_bytes": totals(lines)["collective_bytes"],
        "sending_ms": sending,
        "efficiency": computing / (computing + sending),
    }
