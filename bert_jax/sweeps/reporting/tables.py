"""The tables of a report and its CSV files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bert_jax.sweeps.reporting.comparisons import Comparison, family_size
from bert_jax.sweeps.reporting.results import Cost, Measure, Result, Results
from bert_jax.sweeps.reporting.statistics import LEVEL, summary
from bert_jax.sweeps.reporting.writing import (
    NONE,
    Table,
    as_csv,
    interval,
    number,
    probability,
    short,
    spread,
    titled,
)


def overview(results: Results, comparisons: Sequence[Comparison]) -> Table:
    """Variants x measures: means, marked where they differ from the baseline."""
    names = list(dict.fromkeys(c.measure.name for c in comparisons))
    found = {(c.variant, c.measure.name): c for c in comparisons}
    rows = []
    for variant in results.variants:
        cells = [_overview_cell(found[variant, name]) for name in names]
        done, planned = len(results.of(variant)), len(results.of(variant, counting=False))
        rows.append((variant, f"{done} of {planned}", *cells))
    return Table(
        title="Variants and measures",
        header=("variant", "seeds finished", *(_arrow(results.measures[name]) for name in names)),
        rows=tuple(rows),
        words=1,
        notes=(
            "Mean ± standard deviation over the seeds that finished."
            f" ▲ better and ▼ worse than {results.baseline}, p ≤ 0.05 after correction for all tests together;"
            " unmarked: too small to tell, or not tested."
            " ↑ higher is better, ↓ lower is.",
        ),
    )


def differences(results: Results, comparisons: Sequence[Comparison]) -> Table:
    """A line for each variant and measure, with interval, p and verdict."""
    rows, last = [], None
    for c in comparisons:
        if c.is_baseline:
            continue
        name = titled(c.measure) if c.measure.name != last else ""
        last = c.measure.name
        d = c.difference
        rows.append(
            (
                name,
                c.variant,
                c.verdict,
                spread(c.summary, c.measure),
                number(d.value, c.measure, sign=True) if d else NONE,
                interval(c),
                probability(d.p if d else None),
                probability(c.p_holm),
                f"{d.seeds}" if d else "0",
                f"{d.rows:,}" if d and d.rows else NONE,
            )
        )
    size = family_size(comparisons)
    return Table(
        title=f"Differences to {results.baseline}",
        header=(
            "measure", "variant", "verdict", "mean ± sd", "difference", f"{LEVEL:.0%} interval".replace("%", " %"),
            "p", "p, Holm", "pairs of seeds", "rows",
        ),
        rows=tuple(rows),
        words=3,
        notes=(_family(size), *_seed_notes(comparisons)),
    )  # fmt: skip


def _family(size: int) -> str:
    if not size:
        return "Nothing is tested yet: no seed is finished in both a variant and the baseline."
    return (
        f"Shares differ by points. The verdict is from Holm's p at 0.05 over {size} test{'s' * (size > 1)} together;"
        " an interval is of one difference alone, and may exclude 0 where the verdict is too small to tell."
    )


def _seed_notes(comparisons: Sequence[Comparison]) -> list[str]:
    seeds = {c.difference.seeds for c in comparisons if c.difference}
    notes = []
    if 1 in seeds:
        notes.append(
            "One pair of seeds: the interval is from the rows alone and does not cover other seeds; without rows there"
            " is none."
        )
    if 2 in seeds:
        notes.append(
            "Two pairs of seeds say little about the variance between seeds, so their intervals are wide."
        )
    return notes


def other_measures(results: Results) -> Table | None:
    """Measures that the sweep does not test: means alone."""
    names = [name for name in results.measures if name not in results.plan.sweep.measures]
    if not names:
        return None
    rows = tuple(
        (
            titled(results.measures[name]),
            *(_values_cell(results, variant, results.measures[name]) for variant in results.variants),
        )
        for name in names
    )
    return Table(
        title="Other measures",
        header=("measure", *results.variants),
        rows=rows,
        notes=(
            "Mean ± standard deviation over the seeds that finished; not tested. held_out.X is of each trial's own"
            " objective on its own rows; other measures are of the same rows for all.",
        ),
    )


def published(results: Results) -> Table | None:
    """The paper's table, with the sweep's numbers beside its."""
    paper = results.plan.sweep.published
    if paper is None:
        return None
    rows = []
    for title, values in paper.rows.items():
        variant = paper.variants.get(title)
        cells = []
        for column, value in zip(paper.columns, values, strict=True):
            paper_value = NONE if value is None else str(value)
            cells.append(
                f"{_measured(results, variant, column.measure)} / {paper_value}"
                if variant and column.measure
                else paper_value
            )
        rows.append((title, variant or NONE, *cells))
    foreign = any(column.measure is None for column in paper.columns)
    notes = [
        "Measured / published where both exist; shares in per cent. Models, text and budgets are not the paper's:"
        " compare the order of rows, not the numbers."
    ]
    notes += ["* published only; not measured here: it needs a fine-tuned task."] * foreign
    return Table(
        title=f"Beside {paper.source}",
        header=(
            "published row", "variant", *(c.title + (f": {c.measure}" if c.measure else " *") for c in paper.columns)
        ),
        rows=tuple(rows),
        words=2,
        notes=tuple(notes),
    )  # fmt: skip


def cost(results: Results) -> Table:
    """The mean cost of a trial of each variant."""

    def mean(variant: str, of: Callable[[Cost], float | None]) -> float | None:
        found = [value for r in results.of(variant) if r.cost and (value := of(r.cost)) is not None]
        return summary(found).mean if found else None

    rows = []
    for variant in results.variants:
        mfu = mean(variant, lambda c: c.mfu)
        rows.append(
            (
                variant,
                f"{len(results.of(variant))}",
                short(mean(variant, lambda c: c.tokens)),
                short(mean(variant, lambda c: c.flops)),
                _hours(mean(variant, lambda c: c.hours)),
                _hours(mean(variant, lambda c: c.wall_hours)),
                short(mean(variant, lambda c: c.tokens_per_s)),
                NONE if mfu is None else f"{100 * mfu:.1f} %",
            )
        )
    return Table(
        title="Cost of a trial",
        header=("variant", "trials", "tokens", "FLOPs", "hours", "total hours", "tokens/s", "MFU"),
        rows=tuple(rows),
        notes=(
            "Means over the trials that finished. Tokens are token slots, padding included. FLOPs are counted from the"
            " sizes of the model. Hours, tokens/s and MFU (FLOPs a second as a share of the devices' peak) are of"
            " training steps alone; total hours include evaluation, checkpoints, compilation and probes.",
            *[_OF_STUDENTS] * any(r.trial.has_teacher for r in results.trials),
        ),
    )


_OF_STUDENTS = (
    "Of a variant with a teacher FLOPs are the student's alone, without the teacher's forward passes; hours, tokens/s and"
    " MFU include them."
)


def states(results: Results) -> Table:
    """Every trial with its state."""
    rows = tuple(
        (
            r.trial.name,
            r.status,
            r.fault or r.state.reason or "",
            f"{r.state.step:,} of {r.state.steps:,}",
            NONE if r.state.loss is None else f"{r.state.loss:.4f}",
            f"{r.state.failures}",
        )
        for r in results.trials
    )
    return Table(
        title="Trials",
        header=("trial", "state", "reason", "step", "training loss", "failures"),
        rows=rows,
        words=3,
        notes=(
            "Only finished trials enter a mean. interrupted: stopped or killed; it resumes from its checkpoint.",
        ),
    )


def breakdowns(results: Results) -> tuple[Table, ...]:
    """A table for each breakdown: its parts, and the mean over seeds for every variant."""
    tables = []
    for name, (axis, labels, counts, means) in breakdown_means(results).items():
        measure = results.measures.get(name.partition(" by ")[0])
        rows = tuple(
            (label, f"{count:,}", *(_breakdown_cell(of.get(label), measure) for of in means.values()))
            for label, count in zip(labels, counts, strict=True)
        )
        tables.append(
            Table(
                title=f"{name} (%)" if measure and measure.is_share else name,
                header=(axis, "predictions", *means),
                rows=rows,
                notes=("Means over the seeds that finished.",),
            )
        )
    return tuple(tables)


Means = dict[str, dict[str, float]]


def breakdown_means(results: Results) -> dict[str, tuple[str, tuple[str, ...], tuple[int, ...], Means]]:
    """name -> (axis, labels, counts of the first trial, variant -> label -> mean over its seeds)."""
    found: dict[str, tuple[str, tuple[str, ...], tuple[int, ...], Means]] = {}
    for variant in results.variants:
        values: dict[str, dict[str, list[float]]] = {}
        for part in (part for r in results.of(variant) for part in r.breakdowns):
            found.setdefault(part.name, (part.axis, part.labels, part.counts, {}))
            for label, value in zip(part.labels, part.values, strict=True):
                if value is not None:
                    values.setdefault(part.name, {}).setdefault(label, []).append(value)
        for name, by_label in values.items():
            found[name][3][variant] = {label: summary(seeds).mean for label, seeds in by_label.items()}
    return found


# ---------------------------------------------------------------------------------------------
# CSV
# ---------------------------------------------------------------------------------------------

TRIAL_COLUMNS = ("trial", "variant", "seed", "state", "step", "steps", "measure", "unit", "value")
COMPARISON_COLUMNS = (
    "measure", "unit", "better", "variant", "baseline", "n", "finished", "planned", "mean", "sd", "difference", "low",
    "high", "p", "p_holm", "verdict", "pairs_of_seeds", "rows",
)  # fmt: skip


def trials_csv(results: Results) -> str:
    """A line for each trial and measure, cost included; a trial that does not count has one line without a value."""
    return as_csv(TRIAL_COLUMNS, (line for r in results.trials for line in _trial_lines(results, r)))


def _trial_lines(results: Results, r: Result) -> Iterable[tuple[object, ...]]:
    start = (r.trial.name, r.trial.variant, r.trial.seed, r.status, r.state.step, r.state.steps)
    if not r.counts:
        return [(*start, None, None, None)]
    lines: list[tuple[object, ...]] = [
        (*start, name, "share" if results.measures[name].is_share else results.measures[name].unit, value)
        for name, value in r.values.items()
    ]
    if r.cost:
        for name, its_unit in _COST_UNITS.items():
            lines.append((*start, f"cost.{name}", its_unit, getattr(r.cost, name)))
    return lines


_COST_UNITS = {
    "tokens": "slots",
    "flops": "FLOPs",
    "hours": "hours",
    "wall_hours": "hours",
    "tokens_per_s": "slots/s",
    "mfu": "share",
}


def comparisons_csv(results: Results, comparisons: Sequence[Comparison]) -> str:
    """A line for each measure and variant; the baseline's lines have no difference."""

    def line(c: Comparison) -> tuple[object, ...]:
        d, m = c.difference, c.measure
        tested = (d.value, d.low, d.high, d.p, c.p_holm) if d else (None,) * 5
        seeds = (d.seeds, d.rows) if d else (None, None)
        its_unit = "share" if m.is_share else m.unit
        variant = (
            c.variant,
            results.baseline,
            c.summary.n,
            c.finished,
            c.planned,
            c.summary.mean,
            c.summary.sd,
        )
        return (m.name, its_unit, m.better, *variant, *tested, c.verdict, *seeds)

    return as_csv(COMPARISON_COLUMNS, map(line, comparisons))


# ---------------------------------------------------------------------------------------------


_MARKS = {"better": " ▲", "worse": " ▼"}


def _overview_cell(c: Comparison) -> str:
    return spread(c.summary, c.measure) + _MARKS.get(c.verdict, "")


def _arrow(measure: Measure) -> str:
    return f"{titled(measure)} {'↑' if measure.better == 'higher' else '↓'}"


def _values_cell(results: Results, variant: str, measure: Measure) -> str:
    return spread(summary(list(results.values(variant, measure.name).values())), measure)


def _measured(results: Results, variant: str, name: str) -> str:
    measure = results.measures.get(name)
    if measure is None:
        return NONE
    values = list(results.values(variant, name).values())
    digits = 1 if measure.is_share else 3
    return f"{measure.scale * summary(values).mean:.{digits}f}" if values else NONE


def _breakdown_cell(value: float | None, measure: Measure | None) -> str:
    if measure is not None:
        return number(value, measure)
    return NONE if value is None else f"{value:.4f}"


def _hours(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
