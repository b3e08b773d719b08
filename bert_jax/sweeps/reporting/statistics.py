"""The uncertainty of a difference between two variants that have a few seeds each and are scored on the same rows.

A trial's measure is a ratio, sum(total) / sum(weight) over rows. It varies for two reasons:

rows    Which rows were held out. They are resampled with replacement, the same rows for every seed of both variants,
        so that the difficulty of a row cancels (a paired bootstrap; Efron and Tibshirani 1993).
seeds   Initialisation, order and masks. The seeds' paired differences d_s, s = 1 .. n, are drawn as
        mean(d) + sum_s g_s (d_s - mean(d)) / sqrt(n (n - 1)) x sqrt((n - 1) / chi2), g_s standard normal and chi2 of
        n - 1 degrees of freedom: draws of Student's t, which are added to those of the rows.

Resampling n seeds with replacement, the usual bootstrap, understates their variance by (n - 1) / n and takes too few
different values for widening alone to correct it (Hesterberg 2015, "What teachers should know about the bootstrap"):
with n = 3 its 95 % interval, widened by sqrt(n / (n - 1)), covers the truth 80 % of the time, and equal variants get
p <= 0.05 20 % of the time and p <= 0.05 / 8 as often, so that no correction for many tests helps. With the draws above,
in 3,000 simulated sweeps each of normal seeds (no rows), n = 2, 3, 5, 10: it covers 95.4, 95.0, 94.7 and 95.3 %; equal
variants get p <= 0.05 4.6, 5.0, 5.3 and 4.7 % of the time, and p <= 0.05 / 8 0.4 to 0.6 %.

With rows, in 1,500 simulated sweeps each of 100 rows: one seed 94.1 to 95.1 %; three 95.5 % and five 94.7 % where
seeds differ by more than the noise of their rows, rising to 99.5 % where they differ by nothing else, since that noise
then counts twice, as the rows' and as the seeds'. Equal variants get p <= 0.05 in the rest of 100 %.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

REPLICATES = 10_000
LEVEL = 0.95
_GENERATOR = 20_190_926
_SEED_DRAWS = 20
"""draws of the seeds for each draw of the rows: they are cheap, and p of 0.001 needs many"""
_CELLS = 2_000_000
"""replicates x rows held in memory at once: 16 MB"""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Number, mean and standard deviation of the values of a variant's seeds."""

    n: int
    mean: float
    """NaN: no values"""
    sd: float
    """with n - 1 in the denominator; NaN: fewer than two values"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Variant minus baseline, the mean over the seeds that both have."""

    value: float
    low: float | None
    """lower end of the 95 % interval; None: one seed and no rows, so that nothing can be resampled"""
    high: float | None
    p: float | None
    """two-sided; None as `low`"""
    seeds: int
    rows: int
    """0: only seeds were resampled"""


def summary(values: Sequence[float]) -> Summary:
    """n, mean and standard deviation (n - 1)."""
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    return Summary(n, mean, float(np.std(values, ddof=1)) if n > 1 else math.nan)


def row_replicates(
    total_TR: np.ndarray, weight_TR: np.ndarray, *, replicates: int = REPLICATES, generator: int = _GENERATOR
) -> np.ndarray:
    """The ratio of each of T trials over R resampled rows, the same for all trials: [T, B].

    The draws depend on R and `generator` alone. NaN where a replicate has no weight. Besides the result of T x B,
    memory stays at some tens of MB for any R.
    """
    trials, rows = total_TR.shape
    sums_RK = np.concatenate([total_TR, weight_TR]).astype(np.float64).T
    rng = np.random.default_rng(generator)
    drawn_KB = np.empty((2 * trials, replicates))
    chunk = max(1, _CELLS // rows)
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        picked = rng.integers(0, rows, (size, rows), dtype=np.int32)
        counts = np.stack([np.bincount(row, minlength=rows) for row in picked]).astype(np.float64)
        drawn_KB[:, start : start + size] = (counts @ sums_RK).T
    totals, weights = drawn_KB[:trials], drawn_KB[trials:]
    return np.divide(totals, weights, out=np.full_like(totals, np.nan), where=weights > 0)


def difference(
    variant_S: Sequence[float],
    baseline_S: Sequence[float],
    *,
    rows: int = 0,
    variant_SB: np.ndarray | None = None,
    baseline_SB: np.ndarray | None = None,
    replicates: int = REPLICATES,
    generator: int = _GENERATOR,
) -> Difference:
    """Variant minus baseline with its percentile interval and two-sided p, 2 min(share <= 0, share >= 0), where one is
    added to both counts and to the number of draws. Swapping the variants changes signs and nothing else.

    Args:
      variant_S, baseline_S: the values of the seeds that both have, in the same order.
      rows: R, where the trials have rows in common.
      variant_SB, baseline_SB: their `row_replicates`; None: only seeds are resampled.
      replicates: draws of the seeds, where there are no rows.
    """
    paired_S = np.asarray(variant_S, np.float64) - np.asarray(baseline_S, np.float64)
    seeds = len(paired_S)
    center = float(np.mean(paired_S))
    if variant_SB is not None and baseline_SB is not None:
        drawn_B = np.mean(variant_SB - baseline_SB, axis=0)
        drawn_B = drawn_B[np.isfinite(drawn_B)]
    else:
        drawn_B = np.full(replicates, center)
    if seeds > 1:
        drawn_B = np.tile(drawn_B, _SEED_DRAWS)
        drawn_B = drawn_B + _seed_deviations(paired_S - center, len(drawn_B), generator)
    elif variant_SB is None or not len(drawn_B):
        return Difference(value=center, low=None, high=None, p=None, seeds=seeds, rows=0)
    drawn_B = np.sort(drawn_B)
    # Order statistics, not interpolated: the interval of the negated draws is the negated interval.
    tail = max(0, math.floor((1 - LEVEL) / 2 * (len(drawn_B) + 1)) - 1)
    below, above = int(np.sum(drawn_B <= 0)), int(np.sum(drawn_B >= 0))
    return Difference(
        value=center,
        low=float(drawn_B[tail]),
        high=float(drawn_B[-1 - tail]),
        p=min(1.0, 2 * (min(below, above) + 1) / (len(drawn_B) + 1)),
        seeds=seeds,
        rows=rows if variant_SB is not None else 0,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for one family of tests (Holm 1979): the probability of any false finding stays below the level
    that the adjusted values are compared with. None is not a test and stays None."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        adjusted[place] = largest
    return adjusted


def _seed_deviations(deviation_S: np.ndarray, count: int, generator: int) -> np.ndarray:
    """Draws of the error of the seeds' mean, by the formula in the module's docstring."""
    seeds = len(deviation_S)
    rng = np.random.default_rng([generator, seeds])
    normal_SN = rng.standard_normal((seeds, count))
    scale_N = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, count))
    return deviation_S @ normal_SN / math.sqrt(seeds * (seeds - 1)) * scale_N
