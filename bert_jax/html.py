"""HTML pages that need no other file, for light and dark screens and for paper.

Text is escaped where it enters an element: a plain `str` is always text, an `Html` is always markup, and only this
module turns one into the other. A title or a token that looks like markup is shown as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #24292f; --soft: #59636e; --page: #ffffff; --line: #d8dee4; --band: #f6f8fa;
  --better: #116329; --worse: #a40e26; --masked: #bfe3ff; --random: #ffe08a; --kept: #f3c6e6; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #d0d7de; --soft: #8b949e;
  --page: #0d1117; --line: #30363d; --band: #161b22; --better: #56d364; --worse: #ff7b72;
  --masked: #0b4a78; --random: #6b4e00; --kept: #6d2a5b; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1.2rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.45rem; line-height: 1.25; margin-bottom: .3rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; break-after: avoid; }
.soft, .note, figcaption { color: var(--soft); } .note, figcaption { font-size: .85rem; margin: .4rem 0; }
.verdict { background: var(--band); border-left: 4px solid var(--line); border-radius: 4px; padding: .6rem 1rem;
  margin: 1rem 0; } .verdict ul { margin: 0; padding-left: 1.1rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1.2rem; margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; } dd ul { list-style: none; margin: 0; padding: 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; } td.number, .unsure { white-space: nowrap; }
tr.group td { border-top: 1px solid var(--line); } thead + tbody tr.group:first-child td { border-top: 0; }
.better { color: var(--better); font-weight: 600; } .worse { color: var(--worse); font-weight: 600; }
.columns { columns: 26rem; column-gap: 2.5rem; } .columns section { break-inside: avoid; overflow: hidden; }
.columns h2 { margin-top: 1.2rem; } table.values { width: 100%; overflow-wrap: anywhere; }
.values td { border-bottom: 1px solid var(--line); } .values td:first-child { min-width: 8rem; }
.values td.number { white-space: normal; padding-right: 0; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 1.6rem; margin: 1.4rem 0; }
figure { margin: 0; flex: 1 1 28rem; max-width: 35rem; break-inside: avoid; } figure img { width: 100%; height: auto; }
.row { background: var(--band); border-radius: 6px; padding: .6rem .9rem; margin: .6rem 0; break-inside: avoid; }
.row p { margin: .2rem 0 .2rem 1.6rem; text-indent: -1.6rem; }
.segment { display: inline-block; width: 1.6rem; text-indent: 0; color: var(--soft); }
.B span { text-decoration: underline; text-underline-offset: 3px; } .special { color: var(--soft); }
.masked, .random, .kept { border-radius: 3px; padding: 0 .15em; } .masked { background: var(--masked); }
.random { background: var(--random); } .kept { background: var(--kept); }
.legend span { margin-right: .2rem; } .legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; }
@media screen and (max-width: 56rem) { .scroll table { width: max-content; } .scroll td.words { max-width: 20rem; }
  .scroll th { max-width: 14rem; } }
@media (max-width: 32rem) { body { margin: 1rem auto; padding: 0 .8rem; } dl { grid-template-columns: minmax(0, 1fr); }
  dd { margin-bottom: .4rem; } figure { flex-basis: 100%; } }
@media print { html { font-size: 11px; } body { margin: 0; max-width: none; font-size: 1rem; print-color-adjust: exact; }
  figure { flex-basis: 45%; } .scroll { overflow: visible; } tr, .verdict { break-inside: avoid; } }
"""

_VOID = {"br", "img", "meta", "source"}
_OWN_LINE = {
    "body",
    "div",
    "dl",
    "dd",
    "figure",
    "h1",
    "h2",
    "head",
    "li",
    "p",
    "section",
    "table",
    "tr",
    "ul",
}


class Html(str):
    """Markup: text in it is escaped already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str) -> Html:
    """`element("td", "a < b", class_="number")` is <td class="number">a &lt; b</td>.

    children: `Html` stays as it is, any other `str` is escaped. attributes: always escaped; an empty one is left out.
    """
    written = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items() if value)
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    end = "\n" if tag in _OWN_LINE else ""
    return Html(f"<{tag}{written}>{join(children)}</{tag}>{end}")


def join(parts: Iterable[str], separator: str = "") -> Html:
    """The parts one after another, each as `element` takes its children."""
    return Html(escape(separator).join(part if isinstance(part, Html) else escape(part) for part in parts))


def page(title: str, *body: str) -> str:
    """A whole page: the title as its heading, then `body`."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    whole = element("html", head, element("body", element("h1", title), *body), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def section(title: str, *children: str) -> Html:
    """A part of the page under a heading of the second level."""
    return element("section", element("h2", title), *children)


def items(lines: Iterable[str]) -> Html:
    """A list with a mark before each line."""
    return element("ul", *(element("li", line) for line in lines))


def definitions(entries: Mapping[str, Sequence[str]]) -> Html:
    """Names, and beside each its lines."""
    return element(
        "dl",
        *(join((element("dt", name), element("dd", _lines(lines)))) for name, lines in entries.items()),
    )


def _lines(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else items(lines)


def values(entries: Mapping[str, str]) -> Html:
    """Names and values in two columns, as wide as what is around."""
    rows = (
        element("tr", element("td", name), element("td", value, class_="number"))
        for name, value in entries.items()
    )
    return element("table", element("tbody", *rows), class_="values")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: int = 1,
    mark: Callable[[str], str] = lambda text: "",
) -> Html:
    """A table that scrolls by itself where it is wider than the page.

    words: leading columns that hold words; the others hold numbers and stand to the right. mark: text of a cell ->
    further class. A row whose first cell is empty continues the row above it; others begin with a line.
    """

    def cells(row: Sequence[str], tag: str) -> Html:
        kinds = ["words" if place < words else "number" for place in range(len(row))]
        return join(
            element(tag, text, class_=f"{kind} {mark(text)}".strip())
            for kind, text in zip(kinds, row, strict=True)
        )

    head = element("thead", element("tr", cells(header, "th")))
    body = (element("tr", cells(row, "td"), class_="group" if row[0] else "") for row in rows)
    return element("div", element("table", head, element("tbody", *body)), class_="scroll")


def figures(*each: Html) -> Html:
    """Figures side by side, as many as fit."""
    return element("div", *each, class_="figures")


def figure(title: str, *, light: bytes, dark: bytes, caption: str = "") -> Html:
    """A picture, given as two PNGs, of which the page shows the one that suits the screen or paper."""
    picture = element(
        "picture",
        element("source", srcset=_inline(dark), media="screen and (prefers-color-scheme: dark)"),
        element("img", src=_inline(light), alt=title),
    )
    return element("figure", picture, element("figcaption", caption) if caption else "")


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
