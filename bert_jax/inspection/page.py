"""A corpus report as text and as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from bert_jax.inspection.decoded_rows import LEGEND, Piece, Row
from bert_jax.inspection.plots import draw

Report = dict[str, Any]
Figures = dict[str, dict[str, str]]

_STYLE = """
:root { color-scheme: light dark; --ink: #24292f; --soft: #656d76; --page: #ffffff; --line: #d8dee4; --band: #f6f8fa;
  --masked: #bfe3ff; --random: #ffe08a; --kept: #f3c6e6; }
@media (prefers-color-scheme: dark) { :root { --ink: #d0d7de; --soft: #8b949e; --page: #0d1117; --line: #30363d;
  --band: #161b22; --masked: #0b4a78; --random: #6b4e00; --kept: #6d2a5b; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1.2rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.columns { columns: 26rem; column-gap: 2.5rem; } section { break-inside: avoid; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } td + td { text-align: right; font-variant-numeric: tabular-nums; padding-left: 1rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 2rem; }
.plots img { width: 100%; } figure { margin: 0; flex: 1 1 22rem; max-width: 36rem; }
.row { background: var(--band); border-radius: 6px; padding: .6rem .9rem; margin: .6rem 0; }
.row p { margin: .2rem 0 .2rem 1.6rem; text-indent: -1.6rem; overflow-wrap: anywhere; }
.segment { display: inline-block; width: 1.6rem; text-indent: 0; color: var(--soft); }
.B span { text-decoration: underline; text-underline-offset: 3px; } .special { color: var(--soft); }
.masked, .random, .kept { border-radius: 3px; padding: 0 .15em; } .masked { background: var(--masked); }
.random { background: var(--random); } .kept { background: var(--kept); }
"""


def figures(report: Report) -> Figures:
    """section -> name -> value in words: what the terminal, the text file and the page all show."""
    sections = {
        "corpus": _corpus_figures(report["corpus"], report["weights"]),
        "cleaning": {
            name.replace("_", " "): f"{count:,}" for name, count in report["cleaning"].items() if count
        },
        "splits": {
            name: f"{split['documents']:,} documents, {split['tokens']:,} tokens"
            for name, split in report["splits"].items()
        },
        f"rows of the {report['split']} split": _row_figures(report),
        "masking": _masking_figures(report["masking"]),
    }
    return {title: values for title, values in sections.items() if values}


def as_text(report: Report) -> str:
    """The figures in two columns."""
    sections = figures(report)
    width = max(len(name) for values in sections.values() for name in values) + 2
    parts = [report["title"], *report["about"], ""]
    for title, values in sections.items():
        parts += [title, *(f"  {name:{width}}{value}" for name, value in values.items()), ""]
    return "\n".join(parts)


def as_html(report: Report, rows: Sequence[Row]) -> str:
    """The figures, plots for light and dark, and decoded rows."""
    tables = "".join(
        f"<section><h2>{escape(title.capitalize())}</h2><table>"
        + "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in values.items()
        )
        + "</table></section>\n"
        for title, values in figures(report).items()
    )
    light, dark = draw(report, "light"), draw(report, "dark")
    plots = "".join(
        f'<figure><picture><source srcset="{_inline(dark[title])}" media="(prefers-color-scheme: dark)">'
        f'<img src="{_inline(light[title])}" alt="{escape(title)}"></picture></figure>\n'
        for title in light
    )
    about = "".join(f'<div class="soft">{escape(line)}</div>' for line in report["about"])
    title = escape(report["title"])
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f'<body>\n<h1>{title}</h1>\n{about}\n<div class="columns">\n{tables}</div>\n'
        f'<div class="plots">\n{plots}</div>\n{"".join(_html_rows(rows))}</body>\n</html>\n'
    )


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _html_rows(rows: Sequence[Row]) -> Iterator[str]:
    yield "<h2>Decoded rows</h2>\n<p>"
    yield " &nbsp; ".join(
        f'<span class="{mark}">{escape(shown)}</span> {escape(meaning)}' for shown, mark, meaning in LEGEND
    )
    yield " &nbsp; B is underlined</p>\n"
    for row in rows:
        yield f'<div class="row" dir="auto"><b>{escape(row.title)}</b>\n'
        for heading, segments in row.parts():
            yield f"<div><i>{escape(heading)}</i></div>\n" if heading else ""
            for letter, pieces in segments:
                yield f'<p class="{letter}"><b class="segment">{letter}</b>'
                yield " ".join(map(_html_piece, pieces))
                yield "</p>\n"
        yield "</div>\n"


def _html_piece(piece: Piece) -> str:
    mark = f' class="{piece.mark}"' if piece.mark else ""
    return f"<span{mark}>{escape(str(piece))}</span>"


def _corpus_figures(corpus: dict[str, Any], weights: Sequence[float]) -> dict[str, str]:
    tokens, vocabulary = corpus["tokens"], corpus["vocabulary"]
    values = {"documents": f"{corpus['documents']:,}"}
    if len(corpus["sources"]) > 1:
        for source, weight in zip(corpus["sources"], weights or [1.0] * len(corpus["sources"]), strict=True):
            passes = f", {weight:g} passes an epoch" if weights else ""
            values[f"from {source['name']}"] = (
                f"{source['documents']:,} documents, {_share(source['tokens'] / tokens)} of the tokens{passes}"
            )
    values["sentences"] = f"{corpus['sentences']:,}"
    values["tokens"] = f"{tokens:,}"
    values["characters a token"] = f"{corpus['characters'] / tokens:.2f}"
    values["tokens a word"] = f"{vocabulary['tokens'] / vocabulary['words']:.3f}"
    values["unknown tokens"] = f"{corpus['unknown']:,} = {_share(corpus['unknown'] / tokens, 3)}"
    values["vocabulary"] = f"{vocabulary['entries']:,}, {vocabulary['usable']:,} of them for text"
    unused = _share(vocabulary["never_used"] / max(1, vocabulary["usable"]))
    values["never used in the corpus"] = f"{vocabulary['never_used']:,} = {unused}"
    if vocabulary["tokens"] < tokens:
        values["words, use of the vocabulary"] = f"measured on a sample of {vocabulary['tokens']:,} tokens"
    values["tokens a sentence"] = _lengths(corpus["sentence_tokens"], corpus["sentences"])
    values["tokens a document"] = _lengths(corpus["document_tokens"], corpus["documents"])
    return values


def _row_figures(report: Report) -> dict[str, str]:
    rows = report["rows"]
    labels = rows["labels"]
    values = {
        "rows": f"{rows['rows']:,} = {report['batches']:,} batches of {report['batch_size']:,}",
        "token slots filled": _share(rows["fill"]),
        "tokens a row": _lengths(rows["row_tokens"], rows["rows"]),
    }
    if report["packing"] > 1:
        values["tokens an example"] = _lengths(rows["example_tokens"])
        values["examples a row"] = _lengths(rows["examples_a_row"], rows["rows"])
    if report["label_words"]:
        one, zero = report["label_words"]
        labelled = labels["one"] + labels["zero"]
        of = "" if rows["row_tokens"]["measured"] == rows["rows"] else " (of the sample)"
        values["pairs labelled"] = f"{labelled:,}, without label {labels['none']:,}{of}"
        if labelled:
            values[f"label 1, {one}"] = _measured(labels)
            values[f"label 0, {zero}"] = _measured({**labels, "share": 1 - labels["share"]})
    return values


def _masking_figures(masking: dict[str, Any]) -> dict[str, str]:
    values = {
        "measured on": f"{masking['batches']:,} batches, {masking['rows']:,} rows, {masking['predictions']:,} predictions",
        "unit, mode": f"{masking['unit']}, {masking['mode']}",
        "predicted, of all tokens": _measured(masking["rate"])
        + f" (masking.rate {_share(masking['configured_rate'], 2)})",
    }
    for name, words in (
        ("mask", "shown as [MASK]"),
        ("random", "as a random entry"),
        ("keep", "as they are"),
    ):
        values[words] = (
            f"{_measured(masking['shown'][name])} (expected {_share(masking['expected_shown'][name], 2)})"
        )
    slots = masking["slots"]
    mean = masking["predictions"] / masking["rows"]
    values["predictions a row"] = (
        f"mean {mean:.2f} of M = {slots}; {_share(masking['full_rows'])} of the rows use all"
    )
    whole, part = masking["words"]["whole"], masking["words"]["in_part"]
    values["words with a prediction"] = (
        f"{_share(whole / (whole + part), 2)} predicted whole, the rest in part"
    )
    if "units" in masking:
        units = masking["units"]
        means = [_mean_of(units[name]) for name in ("all", "first", "expected")]
        values["words hidden together"] = "mean {:.3f}; first of each row {:.3f} (expected {:.3f})".format(
            *means
        )
    return values


def _mean_of(frequencies: dict[Any, float]) -> float:
    return sum(int(value) * share for value, share in frequencies.items()) / sum(frequencies.values())


def _lengths(distribution: dict[str, Any], total: int | None = None) -> str:
    if not distribution:
        return "none"
    q = distribution["quantiles"]
    text = f"mean {distribution['mean']:,.1f}; " + ", ".join(
        f"{name} {value:,.0f}"
        for name, value in (
            ("min", distribution["min"]),
            ("p5", q["0.05"]),
            ("median", q["0.5"]),
            ("p95", q["0.95"]),
            ("max", distribution["max"]),
        )
    )
    sampled = total is not None and distribution["measured"] < total
    return text + (f" (sample of {distribution['measured']:,})" if sampled else "")


def _measured(ratio: dict[str, Any]) -> str:
    """A share with its standard error, to the error's second digit or thereabouts."""
    percent = 100 * ratio["error"]
    if percent < 0.0005:
        return f"{_share(ratio['share'], 2)} ± < 0.001 %"
    digits = min(3, max(2, 1 - math.floor(math.log10(percent))))
    return f"{_share(ratio['share'], digits)} ± {_share(ratio['error'], digits)}"


def _share(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"
