"""The page of a fine-tuned run: scores, learning curves, what is taken for what, and the worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

from bert_jax import atomic, html
from bert_jax.inspection.curves import curves
from bert_jax.plotting import Drawing, draw
from bert_jax.training.metrics import read_metrics

REPORT_FILE = "report.html"
_MOST_CLASSES = 40
"""in a drawn matrix"""
_MOST_NUMBERS = 16
"""classes of a matrix in which counts are written"""
_MOST_PAIRS = 12
_LONGEST = 600
"""characters of an example that are shown"""
_LONGEST_TICK = 24
"""characters of a class beside a drawn matrix, which would leave no room for it otherwise"""


class Judged(Protocol):
    """An example and what the model says of it (`bert_jax.tasks.predicted.Judged`)."""

    @property
    def place(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def gold(self) -> str: ...
    @property
    def guess(self) -> str: ...
    @property
    def badness(self) -> float: ...


class Confusion(Protocol):
    """How often each class was taken for which (`bert_jax.tasks.predicted.Confusion`)."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def counts_CC(self) -> np.ndarray: ...


def write_page(
    workdir: Path,
    *,
    title: str,
    scores: Mapping[str, float],
    judged: Sequence[Judged],
    confusion: Confusion | None,
    errors: int,
) -> Path:
    """Writes report.html into `workdir`, whole or not at all, and returns its path.

    errors: how many of the worst errors are listed.
    """
    plots = [draw(drawing) for drawing in curves(read_metrics(workdir / "metrics.jsonl"))]
    body = [html.section("Scores", html.values({_words(n): f"{v:.4f}" for n, v in scores.items()}))]
    if confusion is not None:
        body.append(_confusions(confusion))
        if 1 < len(confusion.labels) <= _MOST_CLASSES:
            plots.insert(0, draw(_matrix(confusion)))
    pictures = (html.figure(p.title, light=p.light, dark=p.dark, caption=p.caption) for p in plots)
    body.insert(1, html.figures(*pictures))
    body.append(_errors(judged, errors))
    out = workdir / REPORT_FILE
    atomic.write_text(out, html.page(title, *body))
    return out


def _matrix(confusion: Confusion) -> Drawing:
    counts_CC = confusion.counts_CC
    labels = [
        label if len(label) <= _LONGEST_TICK else f"{label[: _LONGEST_TICK - 1]}…"
        for label in confusion.labels
    ]
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    size = min(9.0, max(3.4, 0.36 * len(labels) + 1.8))

    def paint(axes: Axes) -> None:
        axes.grid(False)
        axes.imshow(share_CC, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("right")
        if len(labels) > _MOST_NUMBERS:
            return
        for (row, column), count in np.ndenumerate(counts_CC):
            colour = "#ffffff" if share_CC[row, column] > 0.5 else "#24292f"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=7)

    return Drawing(
        name="confusion",
        title="Confusion matrix",
        caption="Rows are the right classes; the darker, the larger the share of the row.",
        size=(size + 0.8, size),
        draw=paint,
    )


def _confusions(confusion: Confusion) -> html.Html:
    """The classes that are confused most."""
    counts_CC = confusion.counts_CC.copy()
    totals_C = counts_CC.sum(axis=1)
    np.fill_diagonal(counts_CC, 0)
    order = np.argsort(-counts_CC, axis=None, kind="stable")[:_MOST_PAIRS]
    cells = [tuple(int(i) for i in np.unravel_index(place, counts_CC.shape)) for place in order]
    rows = [
        (
            confusion.labels[gold],
            confusion.labels[guess],
            f"{counts_CC[gold, guess]:,}",
            f"{100 * counts_CC[gold, guess] / totals_C[gold]:.1f} %",
        )
        for gold, guess in cells
        if counts_CC[gold, guess]
    ]
    if not rows:
        return html.section("Confusions", html.element("p", "None: every one is right."))
    header = ("right", "predicted", "count", "of the class")
    return html.section("Confusions", html.table(header, rows, words=2))


def _errors(judged: Sequence[Judged], count: int) -> html.Html:
    wrong = sorted((one for one in judged if one.badness > 0), key=lambda one: -one.badness)
    right = len(judged) - len(wrong)
    words = f"{right:,} of {len(judged):,} are exactly right; these are the worst {min(count, len(wrong)):,} others."
    rows = [(_cut(one.text), one.gold, one.guess, one.place) for one in wrong[:count]]
    return html.section(
        "Errors",
        html.element("p", words, class_="note"),
        html.table(("text", "right", "predicted", "where"), rows, words=4),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _words(name: str) -> str:
    return name.replace("_", " ")
