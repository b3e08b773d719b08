"""The plots of a corpus report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from bert_jax.plotting import COLOURS, REFERENCE, Drawing, Plot
from bert_jax.plotting import draw as draw_plot

_MEASURED, _SECOND = COLOURS[:2]

Report = dict[str, Any]


def draw(report: Report) -> Iterator[Plot]:
    """Every plot of the report."""
    for title, paint in _painters(report).items():
        yield draw_plot(
            Drawing(
                name=title.lower().replace(" ", "-"),
                title=title,
                size=(5.2, 3.1),
                title_pad=14,  # room for the names of reference lines
                draw=lambda axes, paint=paint: _paint(axes, report, paint),  # type: ignore[misc]
            )
        )


def _paint(axes: Axes, report: Report, paint: Callable[[Axes, Report], None]) -> None:
    axes.grid(False, axis="x")
    paint(axes, report)


def _painters(report: Report) -> dict[str, Callable[[Axes, Report], None]]:
    chosen = {
        "Sentence lengths": _sentences,
        "Document lengths": _documents,
        "Row lengths": _rows,
        "Predictions per row": _predictions,
        "How predicted tokens are shown": _shown,
    }
    if "units" in report["masking"]:
        return {**chosen, "Words masked together": _units}
    return {**chosen, "Predictions by position": _positions}


def _histogram(axes: Axes, distribution: dict[str, Any], *, colour: str, **options: Any) -> None:
    axes.stairs(distribution["counts"], distribution["edges"], color=colour, **options)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _sentences(axes: Axes, report: Report) -> None:
    lengths = report["corpus"]["sentence_tokens"]
    _histogram(axes, lengths, colour=_MEASURED, fill=True)
    axes.set_xlim(0, min(lengths["max"], 2 * lengths["quantiles"]["0.99"]) + 1)
    _mark(axes, lengths["quantiles"]["0.5"], "median")
    axes.set_xlabel("tokens in a sentence")
    axes.set_ylabel("sentences")


def _documents(axes: Axes, report: Report) -> None:
    lengths = report["corpus"]["document_tokens"]
    _histogram(axes, lengths, colour=_MEASURED, fill=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _mark(axes, lengths["quantiles"]["0.5"], "median")
    axes.set_xlabel("tokens in a document")
    axes.set_ylabel("documents")


def _rows(axes: Axes, report: Report) -> None:
    rows = report["rows"]
    _histogram(axes, rows["row_tokens"], colour=_MEASURED, fill=True, alpha=0.8, label="rows")
    if report["packing"] > 1:
        _histogram(axes, rows["example_tokens"], colour=_SECOND, linewidth=1.4, label="their examples")
        axes.legend(loc="upper center", ncols=2)
    axes.set_yscale("symlog", linthresh=10)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_ylim(0, 20 * max(rows["row_tokens"]["counts"] + rows["example_tokens"]["counts"]))
    axes.set_xlim(0, rows["length"] * 1.03)
    _mark(axes, rows["length"], f"L = {rows['length']}")
    axes.set_xlabel("tokens, with special tokens")
    axes.set_ylabel("number (log)")


def _predictions(axes: Axes, report: Report) -> None:
    masking = report["masking"]
    counts = masking["predictions_a_row"]
    axes.bar(range(len(counts)), counts, width=0.9, color=_MEASURED)
    _mark(axes, masking["slots"], f"M = {masking['slots']}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_xlabel("predicted tokens in a row")
    axes.set_ylabel("rows")


def _shown(axes: Axes, report: Report) -> None:
    masking = report["masking"]
    names = {"mask": "[MASK]", "random": "random entry", "keep": "unchanged"}
    found = [masking["shown"][name]["share"] or 0 for name in names]
    expected = [masking["expected_shown"][name] for name in names]
    axes.bar(range(3), found, width=0.6, color=_MEASURED, label="measured")
    axes.plot(range(3), expected, "D", color=REFERENCE, markersize=6, label="expected")
    for place, value in enumerate(found):
        above = (place, max(value, expected[place]))  # both the bar and the mark
        axes.annotate(f"{100 * value:.2f} %", above, (0, 7), textcoords="offset points", ha="center")
    axes.set_xticks(range(3), list(names.values()))
    axes.set_ylim(0, 1.15 * max(found + expected))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("shown to the encoder")
    axes.set_ylabel("fraction of predicted tokens")
    axes.legend(loc="upper right")


def _units(axes: Axes, report: Report) -> None:
    units = report["masking"]["units"]
    expected = {int(words): share for words, share in units["expected"].items()}
    places = list(expected)
    for name, offset, colour in (("all", -0.2, _MEASURED), ("first", 0.2, _SECOND)):
        total = sum(units[name].values())
        shares = [units[name].get(words, 0) / total for words in units["expected"]]
        label = "all units" if name == "all" else "the first of each row"
        axes.bar([place + offset for place in places], shares, width=0.38, color=colour, label=label)
    axes.plot(
        places, list(expected.values()), "D", color=REFERENCE, markersize=5, label="expected of the first"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("words masked together (the last unit of a row is shortened to fit)")
    axes.set_ylabel("fraction of units")
    axes.legend()


def _positions(axes: Axes, report: Report) -> None:
    masking = report["masking"]
    shares = masking["rate_by_position"]
    places = [place for place, share in enumerate(shares) if share is not None]
    axes.plot(places, [shares[place] for place in places], color=_MEASURED, linewidth=1.2, label="measured")
    axes.axhline(
        masking["configured_rate"], color=REFERENCE, linestyle="--", linewidth=1, label="masking.rate"
    )
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("position in the row")
    axes.set_ylabel("fraction of text predicted")
    axes.legend(loc="lower right")


def _mark(axes: Axes, place: float, name: str) -> None:
    axes.axvline(place, color=REFERENCE, linestyle="--", linewidth=1)
    axes.annotate(
        name,
        (place, 1),
        (0, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        color=REFERENCE,
    )


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
