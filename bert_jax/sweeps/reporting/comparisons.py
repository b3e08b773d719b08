"""Compares each variant of a sweep with the baseline: differences, intervals, tests, and a verdict in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from bert_jax import progress
from bert_jax.sweeps.reporting.results import Measure, Result, Results
from bert_jax.sweeps.reporting.statistics import (
    Difference,
    Summary,
    difference,
    holm,
    row_replicates,
    summary,
)

ALPHA = 0.05
Verdict = Literal[
    "better", "worse", "too small to tell", "not tested", "not measured", "not finished", "baseline"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measure of a variant, beside the baseline's."""

    variant: str
    measure: Measure
    summary: Summary
    finished: int
    """seeds of the variant that finished"""
    planned: int
    """seeds of the variant, finished or not"""
    difference: Difference | None = None
    """None: this is the baseline, or no seed is finished in both"""
    p_holm: float | None = None
    is_baseline: bool = False

    @property
    def verdict(self) -> Verdict:
        """better or worse: the adjusted p is at most `ALPHA`."""
        if not self.summary.n:
            return "not measured" if self.finished else "not finished"
        if self.is_baseline:
            return "baseline"
        if self.difference is None or self.p_holm is None:
            return "not tested"
        if self.p_holm > ALPHA:
            return "too small to tell"
        return "better" if (self.difference.value > 0) == (self.measure.better == "higher") else "worse"


def compare(results: Results) -> tuple[Comparison, ...]:
    """Every measure of the sweep for every variant, in its order; all tests are one family."""
    measures = progress.bar(
        results.plan.sweep.measures, description="bootstrap", unit=" measures", leave=False, delay=3
    )
    found = [c for name in measures for c in _of_measure(results, results.measures[name])]
    adjusted = holm([c.difference.p if c.difference else None for c in found])
    return tuple(dataclasses.replace(c, p_holm=p) for c, p in zip(found, adjusted, strict=True))


def family_size(comparisons: Sequence[Comparison]) -> int:
    """The number of tests, which p values are corrected for."""
    return sum(c.p_holm is not None for c in comparisons)


def _of_measure(results: Results, measure: Measure) -> Iterator[Comparison]:
    replicates = _Replicates(results, measure.name)
    of_baseline = {result.trial.seed: result for result in results.of(results.baseline)}
    for variant in results.variants:
        of_variant = {result.trial.seed: result for result in results.of(variant)}
        pairs = [
            (of_variant[seed], of_baseline[seed])
            for seed in of_variant
            if seed in of_baseline
            and measure.name in of_variant[seed].values
            and measure.name in of_baseline[seed].values
        ]
        is_baseline = variant == results.baseline
        yield Comparison(
            variant=variant,
            measure=measure,
            summary=summary(list(results.values(variant, measure.name).values())),
            finished=len(of_variant),
            planned=len(results.of(variant, counting=False)),
            difference=None if is_baseline or not pairs else _difference(pairs, measure.name, replicates),
            is_baseline=is_baseline,
        )


def _difference(pairs: Sequence[tuple[Result, Result]], name: str, replicates: _Replicates) -> Difference:
    of_variant, of_baseline = zip(*pairs, strict=True)
    variant_S, baseline_S = [r.values[name] for r in of_variant], [r.values[name] for r in of_baseline]
    if not replicates.shared(*of_variant, *of_baseline):
        return difference(variant_S, baseline_S)
    return difference(
        variant_S,
        baseline_S,
        rows=replicates.rows,
        variant_SB=np.stack([replicates.of(r) for r in of_variant]),
        baseline_SB=np.stack([replicates.of(r) for r in of_baseline]),
    )


class _Replicates:
    """Bootstrap replicates of a measure: the same resampled rows for all trials."""

    def __init__(self, results: Results, name: str) -> None:
        scored = [r for r in results.trials if r.counts and name in r.scores]
        # Rows are those of the first trial that has them; a trial scored on other rows is compared by seeds alone.
        first = scored[0] if scored else None
        alike = [r for r in scored if first and _rows(r, name) == _rows(first, name)]
        self.rows = len(first.scores[name].total_R) if first else 0
        self._places = {r.trial.name: place for place, r in enumerate(alike)}
        if len(alike) > 1 and self.rows > 1:
            self._ratio_TB = row_replicates(
                np.stack([r.scores[name].total_R for r in alike]),
                np.stack([r.scores[name].weight_R for r in alike]),
            )
        else:
            self._places = {}

    def shared(self, *results: Result) -> bool:
        """Whether all of these were scored on the same rows."""
        return all(r.trial.name in self._places for r in results)

    def of(self, result: Result) -> np.ndarray:
        return self._ratio_TB[self._places[result.trial.name]]


def _rows(result: Result, name: str) -> tuple[object, int]:
    return dict(result.settings), len(result.scores[name].total_R)
