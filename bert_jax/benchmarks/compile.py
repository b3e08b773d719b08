"""Counts what the training step does on a machine that is not here, from what its real compiler makes of it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bert_jax import atomic
from bert_jax.benchmarks import huggingface_flax
from bert_jax.benchmarks.timing import in_a_new_process
from bert_jax.compilers import targets
from bert_jax.compilers.cost import Line, count, totals
from bert_jax.compilers.hlo import parse
from bert_jax.compilers.report import comparison, page, show, tables
from bert_jax.compilers.roofline import Part, bound, parts
from bert_jax.compilers.targets import Target
from bert_jax.config import PretrainConfig
from bert_jax.errors import UserError

Baseline = Literal["hf-flax"]
_log = logging.getLogger(__name__)
_ON_A_PAGE = 40  # instructions, where --heaviest does not say
_TRIES = 6  # compilations of --fit; a line through two of them is within a step of the third


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled step, as far as another process can have it."""

    text: str
    """the optimised module"""
    seconds: float
    """compilation"""
    argument_bytes: int
    temporary_bytes: int
    needed_bytes: int
    """arguments, results that take no argument's place, temporaries and code, of each chip"""
    model_flops: float
    """of the step on all chips, see `models.flops`"""


def measure(
    config: PretrainConfig,
    *,
    target: str,
    fit: bool | None = None,
    heaviest: int | None = None,
    hlo: Path | None = None,
    html: Path | None = None,
    baseline: Baseline | None = None,
) -> dict[str, Any]:
    """Compiles the step of `config`, which has no phases, for `target`; prints tables and returns the sums of one chip.

    fit: searches the largest batch that fits the chips' memory, and counts that one. heaviest: instructions to list.
    hlo, html: files for the optimised module and for the tables as a page.
    baseline: hf-flax compiles Hugging Face's Flax BERT for the same shapes and adds its sums and the ratio of bounds, its
        bound over that of the step of `config`.

    Raises:
      UsageError: an unknown target.
      UserError: its compiler or the baseline is not installed, or a step does not fit the memory.
      ConfigError: the mesh or the batch does not fit the number of chips, or the baseline has no such step.
    """
    machine = targets.parse(target)
    targets.check_compiler(machine)
    if baseline:
        huggingface_flax.check(config)
    program = None
    if fit:
        config, program = _largest(config, machine)
    program = program or compiled(config, machine)
    values, lines, found = _counted(config, machine, program)
    if hlo is not None:
        atomic.write_text(hlo, program.text)
    show(tables(values, lines, found, heaviest=heaviest or 0))
    compared = []
    if baseline:
        values["peer"], _, _ = _counted(config, machine, compiled(config, machine, baseline))
        del values["peer"]["hbm_bytes_by"]  # its scopes have names of their own
        values["bound_ratio"] = values["peer"]["bound_ms"] / values["bound_ms"]
        compared = [comparison(values, baseline)]
        show(compared)
    if html is not None:
        title = f"{config.model.preset} compiled for {machine.name}"
        every = tables(values, lines, found, heaviest=heaviest or _ON_A_PAGE)
        atomic.write_text(html, page(title, every + compared))
    if values["unknown"]:
        _log.warning("%d instructions may cost more: loops and kernels that do not say", values["unknown"])
    return values


def _counted(
    config: PretrainConfig, target: Target, program: Program
) -> tuple[dict[str, Any], Sequence[Line], Sequence[Part]]:
    """The sums of one chip, the instructions that they are of, and the parts of a chip that they take."""
    lines = count(parse(program.text), hbm=target.memory_spaces)
    found = parts(lines, target)
    return _values(config, target, program, lines, found), lines, found


def _values(
    config: PretrainConfig, target: Target, program: Program, lines: Sequence[Line], found: Sequence[Part]
) -> dict[str, Any]:
    chip, slowest, sums = target.chip, bound(found), totals(lines)
    return {
        "target": target.name,
        "model": config.model.preset,
        "batch": [config.train.batch_size, config.data.sequence_length],
        "flops": sums["matrix_flops"],
        "vector_ops": sums["vector_ops"],
        "hbm_bytes": sums["hbm_bytes"],
        "hbm_bytes_by": sums["hbm_bytes_by"],
        "argument_bytes": program.argument_bytes,
        "temporary_bytes": program.temporary_bytes,
        "needed_bytes": program.needed_bytes,
        "memory_bytes": chip.memory_bytes,
        "collective_bytes": sums["collective_bytes"],
        "bound_ms": slowest.milliseconds,
        "bound_by": slowest.name,
        "mfu_at_bound": program.model_flops
        / target.count
        / (chip.matrix_flops * slowest.milliseconds / 1000),
        "unknown": sums["unknown_lines"],
        "compile_s": program.seconds,
    }


def _largest(config: PretrainConfig, target: Target) -> tuple[PretrainConfig, Program]:
    """The config with the largest batch that fits, and its program.

    Memory grows with the batch in a line, so two batches that compile give a guess, which the compiler confirms.

    Raises:
      UserError: not one row a chip fits.
    """
    parallel = config.parallel
    unit = target.count // parallel.tensor * config.train.accumulate
    fits: dict[int, Program] = {}
    fails: set[int] = set()
    rows = max(1, config.train.batch_size // unit)
    while rows and rows not in fits and rows not in fails and len(fits) + len(fails) < _TRIES:
        train = dataclasses.replace(config.train, batch_size=rows * unit)
        try:
            fits[rows] = compiled(dataclasses.replace(config, train=train), target)
        except OutOfMemory:
            fails.add(rows)
        needed = {rows: program.needed_bytes for rows, program in fits.items()}
        rows = next_rows(needed, fails, target.chip.memory_bytes)
    if not fits:
        raise UserError(
            f"not one row fits a chip of {target.name}: choose a smaller model, fsdp, tensor or remat"
        )
    best = max(fits)
    train = dataclasses.replace(config.train, batch_size=best * unit)
    return dataclasses.replace(config, train=train), fits[best]


def next_rows(needed: dict[int, int], fails: set[int], memory: float) -> int:
    """The batch to try next: on the line through the two largest that fit, else twice or half; one that was tried if none
    is left between. needed: rows -> bytes of those that fit."""
    too_many = min(fails, default=0)
    if not needed:
        return too_many // 2
    *_, smaller, largest = (0, *sorted(needed))
    guess = 2 * largest
    if smaller:
        row = (needed[largest] - needed[smaller]) / (largest - smaller)
        guess = int(largest + (memory - needed[largest]) / max(row, 1))
    if too_many:
        guess = min(guess, too_many - 1)
    return max(guess, largest)


class OutOfMemory(UserError):
    """The compiler could not fit the step into a chip's memory."""


def compiled(config: PretrainConfig, target: Target, baseline: Baseline | None = None) -> Program:
    """The step of `config`, which has no phases, or the baseline's, compiled for `target` in a process of its own.

    Raises:
      OutOfMemory: it does not fit a chip.
    """
    _log.info(
        "compiling %sfor %s, batch %d of rows of %d: half a minute to four minutes",
        f"{baseline} " if baseline else "", target.name, config.train.batch_size, config.data.sequence_length,
    )  # fmt: skip
    program = in_a_new_process(targets.environment(target), compile_here, config, target, baseline)
    if program is None or program.needed_bytes > target.chip.memory_bytes:
        needs = "" if program is None else f" needs {program.needed_bytes / 2**30:.3g} GiB a chip and"
        saving = ", raise config.train.accumulate or config.parallel.fsdp, or set config.model.remat"
        raise OutOfMemory(
            f"{f'--baseline {baseline}: ' if baseline else ''}config.train.batch_size={config.train.batch_size} of rows of {config.data.sequence_length}{needs} does not"
            f" fit the {target.chip.memory_bytes / 2**30:.3g} GiB of {target.name}; lower it{'' if baseline else saving}"
        )
    return program


def _with_backend(config: PretrainConfig, target: Target) -> PretrainConfig:
    """What "auto" would be on the target, where this process has other devices."""
    from bert_jax.models.backends import automatic

    model = config.model
    if model.attention_backend != "auto":
        return config
    chosen = automatic(
        model,
        config.data.sequence_length,
        heads=model.num_heads // config.parallel.tensor,
        drops=model.attention_dropout_rate > 0,
        platform="gpu" if target.chip.platform == "cuda" else target.chip.platform,
    )
    return dataclasses.replace(config, model=dataclasses.replace(model, attention_backend=chosen))


def compile_here(config: PretrainConfig, target: Target, baseline: Baseline | None = None) -> Program | None:
    """Compiles in this process, which has `targets.environment` from its start; None: it does not fit the memory."""
    from bert_jax.tasks.choose import task_of
    from bert_jax.training.trainer import Trainer

    task = task_of(_with_backend(config, target))
    config, [phase] = task.config, task.phases
    devices = targets.devices(target)
    start = time.perf_counter()
    try:
        if baseline:
            step = huggingface_flax.compile_step(config, devices)
        else:
            trainer = Trainer.of(task, config, devices)
            step = trainer.compile_abstract(phase, config.train.batch_size)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise
    seconds = time.perf_counter() - start
    memory, text = step.memory_analysis(), step.as_text()
    assert memory is not None and text is not None, "these compilers say both"
    needed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
        text=text,
        seconds=seconds,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        needed_bytes=needed + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        model_flops=phase.flops,
    )
