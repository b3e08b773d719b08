"""How plots look: one palette, ink for light and dark pages, and PNG bytes that depend on the numbers alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Theme = Literal["light", "dark"]

# The colour-blind can tell these apart (Okabe and Ito, and two more), on white and on near-black.
COLOURS = ("#2a86c8", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#a0744a", "#9a7fe0")
GREY = "#7d8590"
REFERENCE = "#d55e00"
"""of a line or mark that measurements are read against"""
_INK = {"light": "#24292f", "dark": "#d0d7de"}
_PAPER = {"light": "#ffffff", "dark": "#0d1117"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A plot that is not drawn yet."""

    name: str
    """of its file, without .png"""
    title: str
    caption: str = ""
    """what a reader must know to read it"""
    size: tuple[float, float] = (5.4, 3.2)
    """inches"""
    title_pad: float = 6
    """points between title and axes"""
    draw: Callable[[Axes], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot as PNGs, for light pages and paper and for dark pages."""

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def draw(drawing: Drawing) -> Plot:
    """Draws it in both themes."""
    return Plot(
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        light=_themed_png(drawing, "light"),
        dark=_themed_png(drawing, "dark"),
    )


def _themed_png(drawing: Drawing, theme: Theme) -> bytes:
    with style(theme):
        figure = Figure(figsize=drawing.size, layout="constrained")
        axes = figure.subplots()
        drawing.draw(axes)
        axes.set_title(drawing.title, pad=drawing.title_pad)
        return png(figure)


@contextlib.contextmanager
def style(theme: Theme) -> Iterator[None]:
    """Figures made and saved inside have the ink and paper of `theme`."""
    ink, paper = _INK[theme], _PAPER[theme]
    settings: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), ink
    )
    settings |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper)
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
    settings |= {"axes.grid": True, "grid.alpha": 0.16, "grid.linewidth": 0.6}
    settings |= {"font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left"}
    settings |= {"legend.frameon": False, "legend.fontsize": 8}
    settings |= {"text.parse_math": False}  # a name with dollar signs is no formula
    with matplotlib.rc_context(settings):
        yield


def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """The figure as a PNG, without the version of the software that drew it."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=dpi, format="png", metadata={"Software": None})
    return stream.getvalue()
