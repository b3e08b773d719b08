"""The definition of a sweep: a question, a base experiment, variants, seeds and a budget; and its trials.

experiments/sweeps/x.py: get_sweep(size) -> Sweep    the base, and the values in which the variants differ
load(x.py)                               -> Plan     every trial resolved, or a ConfigError with every fault
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from bert_jax import config as configs
from bert_jax.config import DistilPretrainConfig, FinetuneConfig, PretrainConfig, experiment
from bert_jax.config.finetune_rules import accuracy_faults
from bert_jax.config.phases import token_slots
from bert_jax.errors import ConfigError, UsageError
from bert_jax.sweeps import teacher as teachers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One answer to the question: a name, and its values as {"group.field": value}.

    A value of the group "distil" makes its trials ones of distillation, from `Sweep.teacher`; others are pretrained.
    """

    name: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a paper's table, and the measure here that corresponds to it."""

    title: str
    measure: str | None = None
    """None: not measured here, such as the score of a fine-tuned task"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A paper's table that the report shows beside the sweep's numbers."""

    source: str
    """such as "Lan et al. 2020, table 5" """
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[float | str | None, ...]]
    """title of a row -> its value in each column, as the paper writes them"""
    variants: Mapping[str, str]
    """title of a row -> the variant that corresponds to it; a row without one is shown alone"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question, and everything that answering it takes."""

    question: str
    base: str
    """the experiment that the variants change, FILE[:ARGUMENT], relative to the sweep file"""
    variants: tuple[Variant, ...]
    tokens: int
    """budget of every trial, in token slots: steps x rows x length. It decides train.steps"""
    baseline: str = ""
    """the variant that others are compared with; empty: the first"""
    seeds: tuple[int, ...] = (0, 1, 2)
    common: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """values that every variant has"""
    probes: tuple[str, ...] = ("mlm", "nsp", "sop")
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """by name, experiments of fine-tuning (classification) that every trial's model is scored on, FILE[:ARGUMENT]
    relative to the sweep file; NAME.accuracy is a measure"""
    measures: tuple[str, ...] = ("mlm.loss", "mlm.accuracy", "nsp.accuracy", "sop.accuracy")
    """what is tested against the baseline: scores of the probes and tasks, or held_out.X, X a field of an eval line"""
    published: Published | None = None
    teacher: str = ""
    """the model that trials of distillation learn from, as --teacher of `bert-jax distill` names it; a directory is
    relative to the working directory"""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "baseline", self.baseline or (self.variants[0].name if self.variants else "")
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep."""

    variant: str
    seed: int
    config: PretrainConfig

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}"

    @property
    def has_teacher(self) -> bool:
        """Whether it is one of distillation."""
        return isinstance(self.config, DistilPretrainConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep with every trial resolved."""

    file: str
    """FILE[:SIZE] that defines it"""
    sweep: Sweep
    reference: PretrainConfig
    """the base without a variant's values and without pairs: all trials are probed on its rows and masks"""
    trials: tuple[Trial, ...]
    tasks: Mapping[str, FinetuneConfig] = dataclasses.field(default_factory=dict)
    """the experiments of `Sweep.tasks`"""

    def with_teacher(self, teacher: str) -> Plan:
        """The same sweep from another teacher."""
        return dataclasses.replace(self, sweep=dataclasses.replace(self.sweep, teacher=teacher))

    def trial(self, name: str) -> Trial:
        """The trial of this name.

        Raises:
          UsageError: there is none; lists the names.
        """
        for trial in self.trials:
            if trial.name == name:
                return trial
        raise UsageError(f"no trial {name!r}: there are {', '.join(trial.name for trial in self.trials)}")


def sized(size: str, **sizes: Any) -> Any:
    """The entry of `sizes` that a sweep file's argument names."""
    if size not in sizes:
        raise ValueError(f"size {size!r} must be one of {', '.join(sizes)}")
    return sizes[size]


# ---------------------------------------------------------------------------------------------
# Loading
# ---------------------------------------------------------------------------------------------


def load(
    path: str,
    overrides: Sequence[str] = (),
    *,
    tokens: int | None = None,
    seeds: Sequence[int] | None = None,
    teacher: str | None = None,
    known_probes: Collection[str] | None = None,
) -> Plan:
    """The sweep of the file `path` with every trial resolved.

    Args:
      path: FILE, or FILE:SIZE, which calls its `get_sweep(SIZE)`.
      overrides: "group.field=value" for every variant, such as where the text is.
      tokens, seeds, teacher: instead of the file's.
      known_probes: names that probes must be of; None: not checked.

    Raises:
      UsageError: no such file, or it returns something else.
      ConfigError: every fault of every variant at once, before anything runs.
    """
    sweep = experiment.call(path, "get_sweep")
    if not isinstance(sweep, Sweep):
        raise UsageError(f"{path}: get_sweep() must return a Sweep, returned {sweep!r}")
    sweep = dataclasses.replace(
        sweep,
        tokens=sweep.tokens if tokens is None else tokens,
        seeds=sweep.seeds if seeds is None else tuple(seeds),
        teacher=sweep.teacher if teacher is None else teacher,
    )
    faults = [*_sweep_faults(sweep), *_override_faults(sweep, overrides)]
    if known_probes is not None:
        unknown = [name for name in sweep.probes if name not in known_probes]
        faults += [f"probes: {name!r} must be one of {', '.join(known_probes)}" for name in unknown]
    if faults:
        raise ConfigError([f"{path}: {fault}" for fault in faults])
    base = experiment.beside(path, sweep.base)

    found: dict[str, PretrainConfig] = {}
    variant_faults: dict[str, list[str]] = {}
    for variant in (*sweep.variants, _REFERENCE):
        try:
            found[variant.name] = _with_budget(base, sweep, variant, overrides)
        except ConfigError as error:
            for fault in error.faults:
                variant_faults.setdefault(fault, []).append(variant.name)
    for one, other in _equal_pairs(sweep, found):
        variant_faults.setdefault("the same configuration: variants must differ", []).extend([one, other])
    if variant_faults:
        raise ConfigError(
            [f"{path}: {_whose(names, sweep)}: {fault}" for fault, names in variant_faults.items()]
        )
    own = {variant.name: found[variant.name] for variant in sweep.variants}
    if of_teacher := list(teachers.faults(sweep.teacher, own)):
        raise ConfigError([f"{path}: {fault}" for fault in of_teacher])
    trials = tuple(
        Trial(variant=variant.name, seed=seed, config=dataclasses.replace(found[variant.name], seed=seed))
        for seed in sweep.seeds  # outermost, so that a sweep that is stopped early has compared all variants
        for variant in sweep.variants
    )
    tasks: dict[str, FinetuneConfig] = {
        name: configs.load(experiment.beside(path, file), kind=FinetuneConfig)
        for name, file in sweep.tasks.items()
    }
    unfit = [fault for name, config in tasks.items() for fault in accuracy_faults(config, f"task {name}")]
    if unfit:
        raise ConfigError([f"{path}: {fault}" for fault in unfit])
    return Plan(file=path, sweep=sweep, reference=found[_REFERENCE.name], trials=trials, tasks=tasks)


# The rows that all trials are probed on: running text, whatever pairs a variant is trained on.
_REFERENCE = Variant(name="(no variant)", values={"data.sentence_objective": "none", "data.quirks": ()})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*(-[A-Za-z0-9_.+]+)*")


def _sweep_faults(sweep: Sweep) -> Iterator[str]:
    names = [variant.name for variant in sweep.variants]
    if len(names) < 2:
        yield f"variants={names} must be two or more: there is nothing to compare"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{names.count(name)} variants are named {name!r}: names must differ"
    for name in names:
        if not NAME.fullmatch(name):
            yield f"variant {name!r} must be letters, digits and ._+-: it names files"
    if names and sweep.baseline not in names:
        yield f"baseline={sweep.baseline!r} must be one of the variants {', '.join(names)}"
    if not sweep.seeds or len(set(sweep.seeds)) != len(sweep.seeds) or min(sweep.seeds) < 0:
        yield f"seeds={sweep.seeds} must be different whole numbers >= 0, one or more"
    if sweep.tokens <= 0:
        yield f"tokens={sweep.tokens} must be > 0"
    for variant in sweep.variants:
        for key in sorted(variant.values.keys() & sweep.common.keys()):
            yield f"variant {variant.name}: {key} is set in common too: it must be one of them"
        if "seed" in variant.values:
            yield f"variant {variant.name}: seed={variant.values['seed']} must be left to seeds={sweep.seeds}"
    for measure in sweep.measures:
        probe = measure.partition(".")[0]
        if probe not in (*sweep.probes, *sweep.tasks, "held_out"):
            yield (
                f"measures: {measure!r} must be held_out.X or of a probe of probes={sweep.probes} or a task of"
                f" tasks={tuple(sweep.tasks)}"
            )
    for name in sweep.tasks:
        if not NAME.fullmatch(name) or name in (*sweep.probes, "held_out"):
            yield f"task {name!r} must be letters, digits and ._+-, and no probe"
    if sweep.published:
        yield from _published_faults(sweep.published, names)


def _published_faults(published: Published, names: Sequence[str]) -> Iterator[str]:
    columns = len(published.columns)
    for title, row in published.rows.items():
        if len(row) != columns:
            yield f"published row {title!r} has {len(row)} values, must have {columns}: one a column"
    for title, variant in published.variants.items():
        if title not in published.rows or variant not in names:
            yield f"published.variants: {title!r}: {variant!r} must go from one of its rows to one of the variants"


def _override_faults(sweep: Sweep, overrides: Sequence[str]) -> Iterator[str]:
    for text in overrides:
        key = text.partition("=")[0].strip()
        variants = [variant.name for variant in sweep.variants if key in variant.values]
        if variants:
            yield f"--config.{key} would override a value of variant {variants[0]}: leave it out"
        elif key == "seed":
            yield f"--config.seed has no effect on a sweep: its seeds={sweep.seeds} are in the file"
        elif key == "train.steps":
            yield "--config.train.steps has no effect on a sweep: the budget decides, set --tokens"


def _with_budget(base: str, sweep: Sweep, variant: Variant, overrides: Sequence[str]) -> PretrainConfig:
    """The variant's configuration, its steps such that the budget is spent to within half an update.

    Raises:
      ConfigError: its faults; or it sets its own steps, which spend another budget.
    """
    values = {**sweep.common, **variant.values}
    if variant is _REFERENCE:  # a teacher decides neither rows nor masks
        values = {key: value for key, value in values.items() if not key.startswith("distil.")}
        overrides = [text for text in overrides if not text.startswith("distil.")]
    if "train.steps" not in values:
        # So many steps that no rule about steps and other values fails.
        draft: PretrainConfig = configs.load(base, overrides, values={**values, "train.steps": _MANY})
        values["train.steps"] = max(1, round(sweep.tokens * _MANY / token_slots(draft)))
    config: PretrainConfig = configs.load(base, overrides, values=values)
    spent, update = token_slots(config), config.train.batch_size * config.data.sequence_length
    if abs(spent - sweep.tokens) >= update:
        raise ConfigError(
            [
                f"config.train.steps={config.train.steps} x rows x length = {spent:,} tokens must be the budget,"
                f" tokens={sweep.tokens:,}, to within an update of {update:,}"
            ]
        )
    return config


_MANY = 10**9


def _equal_pairs(sweep: Sweep, found: Mapping[str, PretrainConfig]) -> Iterator[tuple[str, str]]:
    names = [variant.name for variant in sweep.variants if variant.name in found]
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            if one != other and found[one] == found[other]:
                yield one, other


def _whose(names: Sequence[str], sweep: Sweep) -> str:
    """Names of the variants with a fault; "every variant" where the base has it already."""
    own = [name for name in dict.fromkeys(names) if name != _REFERENCE.name]
    if not own:
        return "the base"
    return "every variant" if len(own) == len(sweep.variants) > 2 else f"variant {', '.join(own)}"
