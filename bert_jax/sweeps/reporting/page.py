"""A sweep's report as Markdown and as one HTML page that needs no other file: the verdict first, the method last."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bert_jax import html
from bert_jax._version import __version__
from bert_jax.html import Html
from bert_jax.plotting import Plot
from bert_jax.sweeps.reporting import tables
from bert_jax.sweeps.reporting.comparisons import ALPHA, Comparison, family_size
from bert_jax.sweeps.reporting.results import Results
from bert_jax.sweeps.reporting.statistics import REPLICATES
from bert_jax.sweeps.reporting.writing import (
    Table,
    interval,
    number,
    plain,
    probability,
    short,
    unit_of_difference,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """The parts of a report in order; every string is plain text."""

    title: str
    verdicts: tuple[str, ...]
    about: dict[str, tuple[str, ...]]
    """what was run: name -> lines"""
    parts: tuple[Table | tuple[Plot, ...], ...]
    method: tuple[str, ...]


def compose(results: Results, comparisons: Sequence[Comparison], plots: Sequence[Plot]) -> Page:
    """Puts the results into the order of the page."""

    def pictures(*starts: str) -> tuple[Plot, ...]:
        return tuple(plot for plot in plots if plot.name.startswith(starts))

    parts: list[Table | tuple[Plot, ...] | None] = [
        tables.overview(results, comparisons),
        pictures("measure-"),
        tables.differences(results, comparisons),
        tables.published(results),
        pictures("curve-"),
        tables.cost(results),
        pictures("cost"),
        pictures("parts-"),
        *tables.breakdowns(results),
        tables.other_measures(results),
        tables.states(results),
    ]
    return Page(
        title=results.plan.sweep.question,
        verdicts=tuple(verdicts(results, comparisons)),
        about=_about(results),
        parts=tuple(part for part in parts if part),
        method=tuple(_method(results, comparisons)),
    )


def verdicts(results: Results, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The answer in sentences: each significant difference, then the others together, then what is unfinished."""
    baseline = results.baseline
    if not any(r.counts for r in results.trials):
        yield "No trial is finished: there is nothing to compare."
        return
    for c in comparisons:
        if c.verdict in ("better", "worse") and c.difference:
            difference = (
                f"{number(c.difference.value, c.measure, sign=True)} {unit_of_difference(c.measure)}".strip()
            )
            p = probability(c.p_holm)
            alone = ", from the rows of one seed" if c.difference.seeds == 1 else ""
            yield (
                f"{c.variant}: {c.measure.name} {difference} {interval(c)}, p {p if p[0] == '<' else '= ' + p}:"
                f" {c.verdict} than {baseline}{alone}"
            )
    for verdict, words in (
        ("too small to tell", "too small to tell for {}"),
        ("not tested", "not tested for {}: a test needs two seeds finished in both, or one with rows"),
        ("not measured", "not measured in {}"),
    ):
        for name in dict.fromkeys(c.measure.name for c in comparisons):
            variants = [c.variant for c in comparisons if c.measure.name == name and c.verdict == verdict]
            if variants:
                yield f"{name}: " + words.format(_listed(variants))
    for variant in results.variants:
        done, planned = len(results.of(variant)), len(results.of(variant, counting=False))
        if done < planned:
            yield f"{variant}: {done} of {planned} seeds finished"


def as_markdown(page: Page, *, plots: str = "plots") -> str:
    """With pictures as files in the folder `plots`, relative to the Markdown."""
    parts = [f"# {plain(page.title)}\n", "".join(f"- {plain(line)}\n" for line in page.verdicts)]
    parts.append("## What was run\n")
    for name, lines in page.about.items():
        if len(lines) == 1:
            parts[-1] += f"\n- {plain(name)}: {plain(lines[0])}"
        else:
            parts[-1] += f"\n- {plain(name)}:" + "".join(f"\n  - {plain(line)}" for line in lines)
    parts[-1] += "\n"
    for part in page.parts:
        if isinstance(part, Table):
            parts.append(part.markdown())
        else:
            parts += [
                f"![{plain(plot.title)}]({plots}/{plot.name}.png)\n\n{plain(plot.caption)}\n" for plot in part
            ]
    parts.append("## How the numbers were made\n\n" + "".join(f"- {plain(line)}\n" for line in page.method))
    return "\n".join(parts)


def as_html(page: Page) -> str:
    """One page that needs no other file."""
    return html.page(
        page.title,
        html.element("div", html.items(page.verdicts), class_="verdict"),
        html.section("What was run", html.definitions(page.about)),
        *(part.html() if isinstance(part, Table) else _figures(part) for part in page.parts),
        html.section("How the numbers were made", html.items(page.method)),
    )


def _figures(plots: Sequence[Plot]) -> Html:
    return html.figures(
        *(html.figure(plot.title, light=plot.light, dark=plot.dark, caption=plot.caption) for plot in plots)
    )


def _about(results: Results) -> dict[str, tuple[str, ...]]:
    sweep = results.plan.sweep
    counts = Counter(r.status for r in results.trials)
    others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "finished")
    about = {
        "sweep": (results.plan.file,),
        "base": (sweep.base,),
        "variants": tuple(
            f"{variant.name}{' (baseline)' if variant.name == sweep.baseline else ''}: {_values(variant.values)}"
            for variant in sweep.variants
        ),
        "in every variant": (_values(sweep.common),),
        "teacher of the variants with config.distil": (sweep.teacher,),
        "seeds": (", ".join(map(str, sweep.seeds)),),
        "budget of a trial": (f"{short(sweep.tokens)} tokens ({sweep.tokens:,}), padding included",),
        "trials": (f"{counts['finished']} of {len(results.trials)} finished{others and '; ' + others}",),
    }
    if not sweep.common:
        del about["in every variant"]
    if not sweep.teacher:
        del about["teacher of the variants with config.distil"]
    return about


def _values(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "the base unchanged"


def _method(results: Results, comparisons: Sequence[Comparison]) -> Iterator[str]:
    size = family_size(comparisons)
    names = sorted({c.measure.name for c in comparisons if c.difference and c.difference.rows})
    yield (
        f"A difference is the mean over the seeds that a variant and {results.baseline} both have, each seed paired"
        " with itself; a measure is a sum over rows divided by the sum of their weights. Unfinished trials enter"
        " no number."
    )
    if names:
        yield (
            f"Held-out rows are resampled with replacement {REPLICATES:,} times, the same rows for every seed of"
            f" both variants ({_listed(names)}); measures of eval lines have no rows, so only seeds are resampled."
        )
    yield (
        "The error of the seeds' mean is drawn from their paired differences as Student's t of n - 1 degrees of"
        " freedom, and added to that of the rows: with few seeds a plain bootstrap is too narrow (with three, its"
        " 95 % interval covers 80 %)."
        " Intervals are percentiles of the draws; p is two-sided, twice the smaller fraction of draws on one side of 0."
    )
    yield (
        f"All {size} tests of this page are one family, corrected by Holm's method (1979); a verdict needs an adjusted"
        f" p of at most {ALPHA}. The seed of the draws is fixed, so the same folder gives the same page."
    )
    yield (
        "Probes score all trials on the same held-out rows and masks, those of the base. held_out.X is a trial's own"
        " objective on its own rows: where variants differ in these, the difference has two causes."
    )
    yield f"Written by bert_jax {__version__}, bert-jax report."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
