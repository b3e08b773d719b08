"""How the plots of a report look: colours and marks of the arms, light and dark, the legend."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Theme = Literal["light", "dark"]

# Told apart by the colour-blind (Okabe and Ito; two more for the eighth and ninth arm), against white as against
# near-black; markers and dashes tell them apart in print. The baseline is grey.
BASELINE = "#7d8590"
_COLOURS = ("#2a86c8", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#a0744a", "#9a7fe0")
_MARKERS = "osD^vPX<>"
_DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (8, 2)),
    (0, (4, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (10, 2, 2, 2)),
)  # fmt: skip
_INK = {"light": "#24292f", "dark": "#d0d7de"}
_PAPER = {"light": "#ffffff", "dark": "#0d1117"}


@dataclasses.dataclass(frozen=True)
class Style:
    """By which an arm is known."""

    colour: str
    marker: str
    dashes: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that is not drawn yet; `size` in inches."""

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes], None]


def styles_of(arms: Sequence[str], baseline: str) -> dict[str, Style]:
    """The same in every plot, whatever has finished."""
    others = [arm for arm in arms if arm != baseline]
    styles = {baseline: Style(BASELINE, _MARKERS[0], _DASHES[0])}
    for place, arm in enumerate(others):
        styles[arm] = Style(
            _COLOURS[place % len(_COLOURS)],
            _MARKERS[(place + 1) % len(_MARKERS)],
            _DASHES[(place + 1) % len(_DASHES)],
        )
    return {arm: styles[arm] for arm in arms}


def png(drawing: Drawing, theme: Theme) -> bytes:
    """The picture on white or near-black."""
    ink, paper = _INK[theme], _PAPER[theme]
    settings: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), ink
    )
    settings |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper)
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.axisbelow": True}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=drawing.size, layout="constrained")
        axes = figure.subplots()
        axes.grid(alpha=0.16, linewidth=0.6)
        drawing.draw(axes)
        axes.set_title(drawing.title, fontsize=10, loc="left")
        stream = io.BytesIO()
        # Without the software's name the same numbers give the same file.
        figure.savefig(stream, dpi=130, format="png", metadata={"Software": None})
    return stream.getvalue()


def size_of(arms: Sequence[str]) -> tuple[float, float]:
    """Inches, with room for the legend."""
    return 5.4, 3.2 + 0.19 * -(-len(arms) // _columns(arms))


def _columns(labels: Sequence[str]) -> int:
    """Of the legend."""
    return max(1, min(len(labels), 70 // (max(map(len, labels)) + 8)))


def legend(axes: Axes) -> None:
    """Below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    if labels and isinstance(figure, Figure):
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=_columns(labels),
            frameon=False,
            fontsize=8,
            handlelength=3.2,
        )
