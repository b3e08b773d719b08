"""The plots of a sweep's report."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from bert_jax.plotting import Drawing, Plot
from bert_jax.plotting import draw as draw_plot
from bert_jax.sweeps.reporting import tables
from bert_jax.sweeps.reporting.comparisons import Comparison
from bert_jax.sweeps.reporting.plot_style import BASELINE, Style, legend, size_of, styles_of
from bert_jax.sweeps.reporting.results import HELD_OUT, Result, Results
from bert_jax.sweeps.reporting.writing import titled, unit_of_difference


def draw(results: Results, comparisons: Sequence[Comparison]) -> Iterator[Plot]:
    """Every plot that there are numbers for."""
    styles = styles_of(results.variants, results.baseline)
    yield from map(draw_plot, _drawings(results, comparisons, styles))


def _drawings(
    results: Results, comparisons: Sequence[Comparison], styles: dict[str, Style]
) -> Iterator[Drawing]:
    for name in dict.fromkeys(c.measure.name for c in comparisons):
        of_measure = [c for c in comparisons if c.measure.name == name]
        if any(c.summary.n for c in of_measure):
            yield _measure_drawing(results, of_measure, styles)
    fields = {field: None for r in results.trials for point in r.curve for field in point.values}
    for field in fields:
        if any(len([p for p in r.curve if p.step and field in p.values]) > 1 for r in results.trials):
            yield _curve_drawing(results, field, styles)
    yield from _cost_drawing(results, styles)
    yield from _breakdown_drawings(results, styles)


# ---------------------------------------------------------------------------------------------
# A measure: variants, seeds, the interval of the difference
# ---------------------------------------------------------------------------------------------


def _measure_drawing(results: Results, of_measure: Sequence[Comparison], styles: dict[str, Style]) -> Drawing:
    measure = of_measure[0].measure
    better = "right" if measure.better == "higher" else "left"
    caption = (
        f"Filled: mean of a variant; hollow: its seeds; line: {results.baseline}. Bars: 95 % interval of the"
        f" difference to {results.baseline}, not corrected for many tests. Better is to the {better}."
        + (" Dotted: chance." if measure.chance is not None else "")
    )
    return Drawing(
        name=f"measure-{measure.name}",
        title=measure.name,
        caption=caption,
        size=(5.4, 1.15 + 0.36 * len(of_measure)),
        draw=lambda axes: _measure(axes, results, of_measure, styles),
    )


def _measure(
    axes: Axes, results: Results, of_measure: Sequence[Comparison], styles: dict[str, Style]
) -> None:
    measure = of_measure[0].measure
    scale = measure.scale
    base = next((c.summary.mean for c in of_measure if c.is_baseline), math.nan)
    if math.isfinite(base):
        axes.axvline(scale * base, color=BASELINE, linewidth=1, zorder=1)
    for place, c in enumerate(of_measure):
        style = styles[c.variant]
        d = c.difference
        if d and d.low is not None and d.high is not None:
            # Drawn from the baseline's mean, so that the bar crosses its line where the difference may be 0.
            ends = [scale * (base + d.low), scale * (base + d.high)]
            axes.plot(ends, [place, place], color=style.colour, linewidth=2.2, alpha=0.75, zorder=2)
            axes.plot(ends, [place, place], "|", color=style.colour, markersize=8, zorder=2)
        seeds = list(results.values(c.variant, measure.name).values())
        axes.plot(
            [scale * value for value in seeds],
            [place + 0.24] * len(seeds),
            style.marker,
            markerfacecolor="none",
            markeredgecolor=style.colour,
            markersize=4,
            linestyle="none",
        )
        if seeds:
            axes.plot(
                [scale * c.summary.mean], [place], style.marker, color=style.colour, markersize=7, zorder=3
            )
        else:
            axes.annotate(
                c.verdict, (0.01, place), xycoords=("axes fraction", "data"), va="center", alpha=0.6
            )
    if measure.chance is not None and _is_near(scale * measure.chance, axes.get_xlim()):
        axes.axvline(scale * measure.chance, linestyle=":", color=BASELINE, linewidth=1.2)
        axes.annotate(
            "chance",
            (scale * measure.chance, 1),
            (2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8,
            alpha=0.8,
        )
    axes.set_yticks(range(len(of_measure)), [c.variant for c in of_measure])
    axes.set_ylim(len(of_measure) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(titled(measure))


def _is_near(place: float, limits: tuple[float, float]) -> bool:
    """Whether an axis that includes `place` gives at least a third of its length to the present limits."""
    low, high = limits
    return max(high, place) - min(low, place) <= 3 * (high - low)


# ---------------------------------------------------------------------------------------------
# Learning curves
# ---------------------------------------------------------------------------------------------


def _curve_drawing(results: Results, field: str, styles: dict[str, Style]) -> Drawing:
    title = f"held-out {field.replace('_', ' ').replace('mlm', 'MLM').replace('rtd', 'RTD')}"
    return Drawing(
        name=f"curve-{field}",
        title=title,
        caption="Line: mean over the seeds that finished; band: from the lowest seed to the highest. Thin, without"
        " markers: single unfinished trials. The evaluation at step 0 is left out.",
        size=size_of(results.variants),
        draw=lambda axes: _curves(axes, results, field, styles),
    )


def _curves(axes: Axes, results: Results, field: str, styles: dict[str, Style]) -> None:
    measure = results.measures.get(HELD_OUT + field)
    scale = measure.scale if measure else 1.0
    for variant, style in styles.items():
        for r in results.of(variant, counting=False):
            points = [(p.tokens, scale * p.values[field]) for p in r.curve if p.step and field in p.values]
            if points and not r.counts:
                axes.plot(*zip(*points, strict=True), color=style.colour, linewidth=0.8, alpha=0.7)
        drawn = _at_shared_tokens(results.of(variant), field)
        if drawn:
            x = list(drawn)
            values = [[scale * value for value in seeds] for seeds in drawn.values()]
            axes.fill_between(
                x, list(map(min, values)), list(map(max, values)), color=style.colour, alpha=0.18, lw=0
            )
            axes.plot(
                x,
                [sum(seeds) / len(seeds) for seeds in values],
                color=style.colour,
                linestyle=style.dashes,
                marker=style.marker,
                markersize=3.5,
                markevery=max(1, len(x) // 8),
                linewidth=1.5,
                label=variant,
            )
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("tokens seen, padding included")
    axes.set_ylabel(f"{field} ({measure.unit})" if measure and measure.unit else field)
    legend(axes)


def _at_shared_tokens(trials: Sequence[Result], field: str) -> dict[int, list[float]]:
    """tokens -> the values of all seeds, at the tokens where every seed was evaluated."""
    curves = [{p.tokens: p.values[field] for p in r.curve if p.step and field in p.values} for r in trials]
    curves = [curve for curve in curves if curve]
    if not curves:
        return {}
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return {tokens: [curve[tokens] for curve in curves] for tokens in shared}


# ---------------------------------------------------------------------------------------------
# Cost, and parts of the data
# ---------------------------------------------------------------------------------------------


def _cost_drawing(results: Results, styles: dict[str, Style]) -> Iterator[Drawing]:
    """The first measure against FLOPs, or against hours where all trials take the same FLOPs, or some a teacher's too."""
    measure = results.measures[results.plan.sweep.measures[0]] if results.plan.sweep.measures else None
    found = [r for r in results.trials if r.cost and measure and measure.name in r.values]
    if not found or measure is None:
        return
    flops = [r.cost.flops for r in found if r.cost]
    are_whole = not any(r.trial.has_teacher for r in found)
    by_flops = (are_whole and max(flops) > 1.01 * min(flops)) or not all(
        r.cost and r.cost.hours for r in found
    )

    def paint(axes: Axes) -> None:
        for variant, style in styles.items():
            own = [r for r in found if r.trial.variant == variant and r.cost]
            if own:
                axes.plot(
                    [(r.cost.flops if by_flops else r.cost.hours) or math.nan for r in own if r.cost],
                    [measure.scale * r.values[measure.name] for r in own],
                    style.marker,
                    color=style.colour,
                    markersize=6,
                    alpha=0.85,
                    linestyle="none",
                    label=variant,
                )
        if by_flops:
            axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
            axes.set_xlabel("training FLOPs of a trial, from the sizes of the model")
        else:
            axes.set_xlabel("hours of training steps of a trial")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_ylabel(titled(measure))
        legend(axes)

    yield Drawing(
        name="cost",
        title=f"Cost and {measure.name}",
        caption=f"One point per trial. {measure.better.capitalize()} and to the left is better.",
        size=size_of(results.variants),
        draw=paint,
    )


def _breakdown_drawings(results: Results, styles: dict[str, Style]) -> Iterator[Drawing]:
    """Each breakdown, and its difference to the baseline, since the lines of variants often coincide."""
    for name, (axis, labels, _, means) in tables.breakdown_means(results).items():
        measure = results.measures.get(name.partition(" by ")[0])
        unit, scale = (titled(measure), measure.scale) if measure else (name, 1.0)
        file = "parts-" + "".join(letter if letter.isalnum() else "-" for letter in name)
        base = means.get(results.baseline)
        yield Drawing(
            name=file,
            title=name,
            caption="Means over the seeds that finished.",
            size=size_of(results.variants),
            draw=functools.partial(_parts, axis, labels, means, scale, unit, styles),
        )
        if base is None or len(means) < 2:
            continue
        between = {
            variant: {label: value - base[label] for label, value in of.items() if label in base}
            for variant, of in means.items()
        }
        unit_between = unit_of_difference(measure) if measure else ""
        yield Drawing(
            name=f"{file}-difference",
            title=f"{name}, difference to {results.baseline}",
            caption=f"The variant's mean minus that of {results.baseline}, part by part; not tested.",
            size=size_of(results.variants),
            draw=functools.partial(
                _parts, axis, labels, between, scale, f"difference ({unit_between})", styles
            ),
        )


def _parts(
    axis: str,
    labels: Sequence[str],
    means: tables.Means,
    scale: float,
    unit: str,
    styles: dict[str, Style],
    axes: Axes,
) -> None:
    for variant, of in means.items():
        style = styles[variant]
        places = [place for place, label in enumerate(labels) if label in of]
        axes.plot(
            places,
            [scale * of[labels[place]] for place in places],
            color=style.colour,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=4,
            linewidth=1.4,
            label=variant,
        )
    ticks = range(0, len(labels), -(-len(labels) // 10))
    is_wide = sum(len(labels[tick]) for tick in ticks) > 60
    axes.set_xticks(
        ticks,
        [labels[tick] for tick in ticks],
        rotation=30 if is_wide else 0,
        ha="right" if is_wide else "center",
    )
    axes.set_xlabel(axis)
    axes.set_ylabel(unit)
    legend(axes)
