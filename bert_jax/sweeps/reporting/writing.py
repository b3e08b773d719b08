"""Tables as Markdown, HTML and CSV, and numbers as text."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Sequence

from bert_jax import html
from bert_jax.html import Html
from bert_jax.sweeps.reporting.comparisons import Comparison
from bert_jax.sweeps.reporting.results import Measure
from bert_jax.sweeps.reporting.statistics import Summary

NONE = "–"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    """leading columns of words; the others are numbers, aligned to the right"""

    def markdown(self) -> str:
        """A heading, the table and its notes."""
        rule = ["---" if place < self.words else "---:" for place in range(len(self.header))]
        lines = [_line(map(plain, row)) for row in (self.header, *self.rows)]
        lines.insert(1, _line(rule))
        notes = "".join(f"\n{plain(note)}\n" for note in self.notes)
        return f"### {plain(self.title)}\n\n" + "\n".join(lines) + f"\n{notes}"

    def html(self) -> Html:
        """A section of the page."""
        shown = html.table(self.header, self.rows, words=self.words, mark=lambda text: _CLASSES.get(text, ""))
        return html.section(
            self.title, shown, *(html.element("p", note, class_="note") for note in self.notes)
        )


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 with \\n line ends; numbers in full, None and NaN as an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if _is_missing(cell) else cell for cell in row])
    return stream.getvalue()


def number(value: float | None, measure: Measure, *, sign: bool = False) -> str:
    """A value of the measure: per cent with two decimals, others with four."""
    if _is_missing(value):
        return NONE
    assert value is not None
    return f"{measure.scale * value:{'+' if sign else ''}.{2 if measure.is_share else 4}f}"


def spread(of: Summary, measure: Measure) -> str:
    """mean ± standard deviation."""
    text = number(of.mean, measure)
    return text if math.isnan(of.sd) else f"{text} ± {number(of.sd, measure)}"


def interval(comparison: Comparison) -> str:
    """[low, high] of the difference."""
    found = comparison.difference
    if found is None or found.low is None:
        return NONE
    low, high = (number(end, comparison.measure, sign=True) for end in (found.low, found.high))
    return f"[{low}, {high}]"


def probability(p: float | None) -> str:
    """Three decimals, or "< 0.001"."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def unit_of_difference(measure: Measure) -> str:
    """The unit of a difference: shares differ by percentage points."""
    return "points" if measure.is_share else measure.unit


def titled(measure: Measure) -> str:
    """The name with its unit."""
    return f"{measure.name} ({measure.unit})" if measure.unit else measure.name


def short(value: float | None) -> str:
    """Three digits with an SI prefix: 1.23e15 as 1.23 P."""
    if value is None:
        return NONE
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


# Of a cell that is a verdict or a state.
_CLASSES = {
    "too small to tell": "unsure",
    "better": "better",
    "worse": "worse",
    "failed": "worse",
    "unreadable": "worse",
}


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plain(text: str) -> str:
    """Text escaped for Markdown, on one line and in one cell. An underscore inside a word needs no escape."""
    text = re.sub(r"([\\|*`<]|(?<!\w)_|_(?!\w)|^#|(?<=\])\()", r"\\\1", text)
    return " ".join(text.split())
