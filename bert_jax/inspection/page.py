"""The corpus report as text and as one HTML page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bert_jax import html
from bert_jax.html import Html
from bert_jax.inspection.decoded_rows import LEGEND, Row
from bert_jax.inspection.plots import draw

Report = dict[str, Any]
Figures = dict[str, dict[str, str]]


def figures(report: Report) -> Figures:
    """section -> name -> value as text, as the terminal, the text file and the page show it."""
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
    """The figures, their plots, and decoded rows."""
    about = (html.element("div", line, class_="soft") for line in report["about"])
    tables = (
        html.section(title.capitalize(), html.values(entries)) for title, entries in figures(report).items()
    )
    plots = (html.figure(plot.title, light=plot.light, dark=plot.dark) for plot in draw(report))
    return html.page(
        report["title"],
        *about,
        html.element("div", *tables, class_="columns"),
        html.figures(*plots),
        html.section("Decoded rows", _legend(), *map(_row, rows)),
    )


def _legend() -> Html:
    signs = [
        html.element("span", html.element("span", shown, class_=mark), f" {meaning}")
        for shown, mark, meaning in LEGEND
    ]
    return html.element("p", *signs, html.element("span", "B is underlined"), class_="legend")


def _row(row: Row) -> Html:
    parts: list[Html] = [html.element("b", row.title)]
    for heading, segments in row.parts():
        if heading:
            parts.append(html.element("div", html.element("i", heading)))
        for letter, pieces in segments:
            shown = html.join((html.element("span", str(piece), class_=piece.mark) for piece in pieces), " ")
            parts.append(html.element("p", html.element("b", letter, class_="segment"), shown, class_=letter))
    return html.element("div", *parts, class_="row", dir="auto")


def _corpus_figures(corpus: dict[str, Any], weights: Sequence[float]) -> dict[str, str]:
    tokens, vocabulary = corpus["tokens"], corpus["vocabulary"]
    values = {"documents": f"{corpus['documents']:,}"}
    if len(corpus["sources"]) > 1:
        for source, weight in zip(corpus["sources"], weights or [1.0] * len(corpus["sources"]), strict=True):
            passes = f", {weight:g} passes per epoch" if weights else ""
            values[f"from {source['name']}"] = (
                f"{source['documents']:,} documents, {_share(source['tokens'] / tokens)} of the tokens{passes}"
            )
    values["sentences"] = f"{corpus['sentences']:,}"
    values["tokens"] = f"{tokens:,}"
    values["characters per token"] = f"{corpus['characters'] / tokens:.2f}"
    values["tokens per word"] = f"{vocabulary['tokens'] / vocabulary['words']:.3f}"
    values["unknown tokens"] = f"{corpus['unknown']:,} = {_share(corpus['unknown'] / tokens, 3)}"
    values["vocabulary"] = f"{vocabulary['entries']:,}, {vocabulary['usable']:,} of them for text"
    unused = _share(vocabulary["never_used"] / max(1, vocabulary["usable"]))
    values["entries never used"] = f"{vocabulary['never_used']:,} = {unused}"
    if vocabulary["tokens"] < tokens:
        values["words, use of the vocabulary"] = f"measured on a sample of {vocabulary['tokens']:,} tokens"
    values["tokens per sentence"] = _lengths(corpus["sentence_tokens"], corpus["sentences"])
    values["tokens per document"] = _lengths(corpus["document_tokens"], corpus["documents"])
    return values


def _row_figures(report: Report) -> dict[str, str]:
    rows = report["rows"]
    labels = rows["labels"]
    values = {
        "rows": f"{rows['rows']:,} = {report['batches']:,} batches of {report['batch_size']:,}",
        "token slots filled": _share(rows["fill"]),
        "tokens per row": _lengths(rows["row_tokens"], rows["rows"]),
    }
    if report["packing"] > 1:
        values["tokens per example"] = _lengths(rows["example_tokens"])
        values["examples per row"] = _lengths(rows["examples_a_row"], rows["rows"])
    if report["label_words"]:
        one, zero = report["label_words"]
        labelled = labels["one"] + labels["zero"]
        of = "" if rows["row_tokens"]["measured"] == rows["rows"] else " (of the sample)"
        values["labelled pairs"] = f"{labelled:,}, unlabelled {labels['none']:,}{of}"
        if labelled:
            values[f"label 1, {one}"] = _measured(labels)
            values[f"label 0, {zero}"] = _measured({**labels, "share": 1 - labels["share"]})
    return values


def _masking_figures(masking: dict[str, Any]) -> dict[str, str]:
    values = {
        "measured on": (
            f"{masking['batches']:,} batches, {masking['rows']:,} rows, {masking['predictions']:,} predictions"
        ),
        "unit, mode": f"{masking['unit']}, {masking['mode']}",
        "predicted tokens": _measured(masking["rate"])
        + f" (masking.rate {_share(masking['configured_rate'], 2)})",
    }
    for name, words in (
        ("mask", "shown as [MASK]"),
        ("random", "shown as a random entry"),
        ("keep", "shown unchanged"),
    ):
        values[words] = (
            f"{_measured(masking['shown'][name])} (expected {_share(masking['expected_shown'][name], 2)})"
        )
    slots = masking["slots"]
    mean = masking["predictions"] / masking["rows"]
    values["predictions per row"] = (
        f"mean {mean:.2f} of M = {slots}; {_share(masking['full_rows'])} of the rows use all of them"
    )
    whole, part = masking["words"]["whole"], masking["words"]["in_part"]
    values["words with a prediction"] = (
        f"{_share(whole / (whole + part), 2)} predicted whole, the rest in part"
    )
    if "units" in masking:
        units = masking["units"]
        means = [_mean_of(units[name]) for name in ("all", "first", "expected")]
        values["words masked together"] = "mean {:.3f}; first of each row {:.3f} (expected {:.3f})".format(
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
    """A share with its standard error, to about the second digit of the error."""
    percent = 100 * ratio["error"]
    if percent < 0.0005:
        return f"{_share(ratio['share'], 2)} ± < 0.001 %"
    digits = min(3, max(2, 1 - math.floor(math.log10(percent))))
    return f"{_share(ratio['share'], digits)} ± {_share(ratio['error'], digits)}"


def _share(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"
