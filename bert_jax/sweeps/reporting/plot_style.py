"""How the variants of a sweep look in its plots: colours, markers and dashes, the legend."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_jax.plotting import COLOURS, GREY

BASELINE = GREY
# Markers and dashes tell the variants apart in print.
_MARKERS = "osD^vPX<>"
_DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (8, 2)),
    (0, (4, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (10, 2, 2, 2)),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Style:
    """The look of a variant."""

    colour: str
    marker: str
    dashes: Any


def styles_of(variants: Sequence[str], baseline: str) -> dict[str, Style]:
    """The look of each variant: the same in every plot, whichever trials have finished."""
    others = [variant for variant in variants if variant != baseline]
    styles = {baseline: Style(BASELINE, _MARKERS[0], _DASHES[0])}
    for place, variant in enumerate(others):
        styles[variant] = Style(
            COLOURS[place % len(COLOURS)],
            _MARKERS[(place + 1) % len(_MARKERS)],
            _DASHES[(place + 1) % len(_DASHES)],
        )
    return {variant: styles[variant] for variant in variants}


def size_of(variants: Sequence[str]) -> tuple[float, float]:
    """Inches of a plot, with room for the legend."""
    return 5.4, 3.2 + 0.19 * -(-len(variants) // _columns(variants))


def _columns(labels: Sequence[str]) -> int:
    """Of the legend."""
    return max(1, min(len(labels), 70 // (max(map(len, labels)) + 8)))


def legend(axes: Axes) -> None:
    """Below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    if labels and isinstance(figure, Figure):
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(labels), handlelength=3.2)
