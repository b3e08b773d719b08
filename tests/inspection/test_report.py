"""A corpus report whose page, text and numbers agree, and rows on the terminal."""

import base64
import contextlib
import dataclasses
import io
import json
import re

import pytest
from matplotlib.image import imread

from bert_jax.config import PhaseConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.inspection.measure import measure
from bert_jax.inspection.page import as_text
from bert_jax.inspection.report import show_rows, write_report
from bert_jax.text import tokenizer
from tests.test_html import Parsed


@pytest.fixture(scope="module")
def packed(prepared):
    """A configuration over the shared corpus that has everything a report can show."""
    data = dataclasses.replace(
        prepared.data, sequence_length=64, packing=3, sentence_objective="nsp", short_sequence_probability=1.0
    )
    masking = dataclasses.replace(prepared.masking, unit="ngram", max_predictions=10)
    return dataclasses.replace(prepared, data=data, masking=masking)


@pytest.fixture(scope="module")
def written(packed, tmp_path_factory):
    """(folder of a report, what was printed)."""
    folder = tmp_path_factory.mktemp("inspect") / "new" / "report"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        write_report(packed, folder, rows=2, experiment="tiny.py")
    return folder, out.getvalue()


@pytest.fixture(scope="module")
def folder(written):
    return written[0]


def test_the_page_has_every_figure_of_the_text(folder):
    page = Parsed((folder / "report.html").read_text())
    figures = re.findall(r"^  (\S.*?)  +(\S.*)$", (folder / "report.txt").read_text(), re.MULTILINE)
    assert len(figures) > 20
    assert [figure for figure in figures if not set(figure) <= set(page.text)] == []
    assert {"label 1, B is from another document", "words masked together"} <= {name for name, _ in figures}


def test_the_page_needs_no_other_file(folder):
    page = Parsed((folder / "report.html").read_text())
    sources = [value for name, value in page.attributes if name in ("src", "srcset", "href")]
    assert len(sources) == 12  # six plots, for light and for dark
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"
        assert imread(io.BytesIO(base64.b64decode(data))).std() > 0.01


def test_the_page_shows_decoded_rows(folder):
    html = (folder / "report.html").read_text()
    assert html.count('<div class="row"') == 2
    assert '<span class="masked">[MASK]‹' in html
    assert "example 2: " in html


def test_the_numbers_are_those_of_the_corpus(folder, packed):
    found = json.loads((folder / "report.json").read_text())
    counts = open_corpus(packed).manifest["counts"]
    assert {name: found["corpus"][name] for name in ("documents", "sentences", "tokens", "characters")} == {
        name: counts[name] for name in ("documents", "sentences", "tokens", "characters")
    }
    assert sum(split["documents"] for split in found["splits"].values()) == 60
    assert sum(split["tokens"] for split in found["splits"].values()) == counts["tokens"]
    assert found["rows"]["row_tokens"]["max"] <= 64
    assert found["masking"]["slots"] == 10
    assert found["masking"]["words"]["in_part"] == 0  # n-grams are of whole words
    assert found["masking"]["rate"]["share"] == pytest.approx(0.15, abs=0.02)
    text = (folder / "report.txt").read_text()
    assert f"{counts['tokens']:,}\n" in text


def test_a_report_prints_its_figures_and_its_path(written):
    folder, out = written
    assert out.startswith((folder / "report.txt").read_text())
    assert out.endswith(f"{folder}/report.html\n")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.txt"]


def test_the_eval_split_is_measured_without_what_fills_it_up(prepared):
    config = dataclasses.replace(prepared, train=dataclasses.replace(prepared.train, batch_size=1000))
    batches = Batches(open_corpus(config), config, "eval")
    vocabulary = tokenizer.load(batches.shards.folder / "tokenizer.json")
    found = measure(batches, vocabulary)
    assert found["masking"]["rows"] == found["rows"]["rows"] == len(batches.index) < 1000
    assert "rows of the eval split" in as_text(found)
    assert "units" not in found["masking"]


def test_rows_that_fill_up_an_evaluation_are_not_shown(prepared, capsys):
    config = dataclasses.replace(prepared, train=dataclasses.replace(prepared.train, batch_size=1000))
    show_rows(config, split="eval", rows=1000)
    rows = re.findall(r"^row \d+: (\d+) tokens.*, (\d+) predicted", capsys.readouterr().out, re.MULTILINE)
    assert 0 < len(rows) < 100
    assert all(int(predicted) > 0 for _, predicted in rows)


def test_the_first_phase_has_its_own_length(prepared, capsys):
    parts = (PhaseConfig(share=0.5, sequence_length=16), PhaseConfig(share=0.5))
    config = dataclasses.replace(prepared, phases=parts)  # 12 steps: the sixth is the first of 32
    for step, length in ((5, 16), (6, 32)):
        show_rows(config, step=step, rows=8)
        found = re.findall(r": (\d+) tokens(?: \+ (\d+))?", capsys.readouterr().out)
        assert {int(tokens) + int(padding or 0) for tokens, padding in found} == {length}
