"""`bert-jax inspect`: the marks of a row, and a report whose page, text and numbers agree."""

import base64
import contextlib
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from bert_jax.__main__ import main
from bert_jax.commands import inspect
from bert_jax.config import DataConfig, TokenizerConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.inspection.decoded_rows import decode_rows, print_rows
from bert_jax.inspection.measure import measure
from bert_jax.inspection.page import as_text
from bert_jax.text import tokenizer

WORDS = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), *("the", "cat", "sat", "##ting", "on", "mat"),
         *("a", "dog", "ran", "far")]  # fmt: skip
PAD, UNK, CLS, SEP, MASK = range(5)


class Vocabulary:
    special = SimpleNamespace(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK)
    backend = SimpleNamespace(decoder=None)

    def token(self, index):
        return WORDS[index]


@pytest.fixture
def batch():
    """A packed row of two pairs, and one that nothing is hidden in."""
    ids = [
        [CLS, 5, MASK, 13, 8, SEP, 9, 10, SEP, CLS, 11, MASK, SEP, 12, 14, SEP, PAD, PAD],
        [CLS, 6, SEP] + [PAD] * 15,
    ]
    return {
        "tokens_BL": np.array(ids),
        "type_ids_BL": np.array([[0] * 6 + [1] * 3 + [0] * 4 + [1] * 3 + [0] * 2, [0] * 18]),
        "pack_ids_BL": np.array([[1] * 9 + [2] * 7 + [0] * 2, [1] * 3 + [0] * 15]),
        "mlm_positions_BM": np.array([[2, 3, 7, 11], [0, 0, 0, 0]]),
        "mlm_targets_BM": np.array([[6, 7, 10, 12], [0, 0, 0, 0]]),
        "mlm_weights_BM": np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.float32),
        "pair_labels_BP": np.array([[1, 0], [0, 0]]),
        "pair_weights_BP": np.array([[1, 1], [0, 0]], np.float32),
        "example_ids_B": np.array([70, 71], np.uint32),
    }


def printed(batch, data, **options):
    stream = io.StringIO()
    print_rows(
        decode_rows(batch, range(2), Vocabulary(), data), Console(file=stream, highlight=False, **options)
    )
    return stream.getvalue()


def test_the_marks_of_a_row(batch):
    lines = printed(batch, DataConfig(sentence_objective="sop")).splitlines()
    assert lines[:11] == [
        "row 70: 2 examples, 16 tokens + 2 padding, 4 predicted",
        "  example 1: 9 tokens, swapped",
        "  A [CLS] the [MASK]‹cat› ran‹≠sat› ##ting [SEP]",
        "  B on mat‹=› [SEP]",
        "  example 2: 7 tokens, in order",
        "  A [CLS] a [MASK]‹dog› [SEP]",
        "  B dog far [SEP]",
        "",
        "row 71: 3 tokens + 15 padding, 0 predicted",
        "  no label",
        "  A [CLS] cat [SEP]",
    ]
    assert all(sign in lines[-1] for sign in ("[MASK]‹cat›", "dog‹≠cat›", "cat‹=›"))


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (
            DataConfig(sentence_objective="nsp"),
            ["B is from another document", "B is the next text", "no label"],
        ),
        (
            DataConfig(sentence_objective="sop", quirks=("lone_is_random",)),
            ["swapped, or B is from another document"],
        ),
    ],
)
def test_labels_are_in_words(batch, data, labels):
    text = printed(batch, data)
    assert [label for label in labels if label not in text] == []


def test_no_objective_no_label(batch):
    text = printed(batch, DataConfig(sentence_objective="none", format="full_sentences"))
    assert "label" not in text
    assert "  example 1: 9 tokens\n" in text


def test_a_terminal_has_colours_and_wraps(batch):
    text = printed(batch, DataConfig(sentence_objective="sop"), force_terminal=True, width=30)
    assert "\x1b[30;106m[MASK]‹cat›" in text  # hidden
    assert "\x1b[30;103mran‹≠sat›" in text  # random
    assert "\x1b[4;30;105mmat‹=›" in text  # kept, and in B
    assert "\x1b[2m[CLS]" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(len, plain.split("\n"))) <= 30
    assert "\n    ran‹≠sat›" in plain or "\n    ##ting" in plain  # below its segment's first word


def test_elsewhere_nothing_is_coloured_or_cut(batch):
    text = printed(batch, DataConfig(sentence_objective="sop"), width=10)
    assert "\x1b" not in text
    assert "  A [CLS] the [MASK]‹cat› ran‹≠sat› ##ting [SEP]\n" in text


def test_bytes_are_shown_as_the_text_they_are():
    counts = {word: 50 for word in ("Größe", " Größe", " tut", " gut")}
    vocabulary = tokenizer.train(counts, TokenizerConfig(kind="bpe", vocab_size=300, lowercase=False))
    ids = vocabulary.encode("Größe tut gut 日")
    tokens = np.array([ids])
    one, none = np.ones_like(tokens), np.zeros((1, 1), int)
    batch = {
        "tokens_BL": tokens, "type_ids_BL": one * 0, "pack_ids_BL": one, "mlm_positions_BM": none,
        "mlm_targets_BM": none, "mlm_weights_BM": none, "pair_labels_BP": none, "pair_weights_BP": none,
        "example_ids_B": np.zeros(1, int),
    }  # fmt: skip
    ((_, pieces),) = decode_rows(batch, [0], vocabulary, DataConfig())[0].examples[0].segments
    shown = [piece.text for piece in pieces]
    assert shown[:3] == ["Größe", "Ġtut", "Ġgut"]
    assert len(shown) == len(ids)


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
        inspect.run(packed, rows=2, report=folder, experiment="tiny.py")
    return folder, out.getvalue()


@pytest.fixture(scope="module")
def folder(written):
    return written[0]


class Page(HTMLParser):
    """The text of a page; fails where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.sources = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_has_every_figure_of_the_text(folder):
    page = Page((folder / "report.html").read_text())
    figures = re.findall(r"^  (\S.*?)  +(\S.*)$", (folder / "report.txt").read_text(), re.MULTILINE)
    assert len(figures) > 20
    assert [figure for figure in figures if not set(figure) <= set(page.text)] == []
    assert {"label 1, B is from another document", "words hidden together"} <= {name for name, _ in figures}


def test_the_page_needs_no_other_file(folder):
    page = Page((folder / "report.html").read_text())
    assert len(page.sources) == 12  # six plots, for light and for dark
    for source in page.sources:
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


def test_rows_of_a_step_are_printed(experiment, prepared, capsys):
    argv = ["inspect", "--config", str(experiment), "--step", "3", "--rows", "2"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^row (\d+)", out, re.MULTILINE) == ["24", "25"]  # batches of 8
    assert "\x1b" not in out
    assert main([*argv, "--split", "eval", "--step", "0", "--rows", "50"]) == 0
    assert len(re.findall("^row ", capsys.readouterr().out, re.MULTILINE)) == 8


def test_rows_that_fill_up_an_evaluation_are_not_shown(prepared, capsys):
    config = dataclasses.replace(prepared, train=dataclasses.replace(prepared.train, batch_size=1000))
    inspect.run(config, split="eval", rows=1000)
    rows = re.findall(r"^row \d+: (\d+) tokens.*, (\d+) predicted", capsys.readouterr().out, re.MULTILINE)
    assert 0 < len(rows) < 100
    assert all(int(predicted) > 0 for _, predicted in rows)


def test_the_first_phase_has_its_own_length(prepared, capsys):
    data = dataclasses.replace(prepared.data, first_length=16, first_share=0.5)
    config = dataclasses.replace(prepared, data=data)  # 12 steps: the sixth is the first of 32
    for step, length in ((5, 16), (6, 32)):
        inspect.run(config, step=step, rows=8)
        found = re.findall(r": (\d+) tokens(?: \+ (\d+))?", capsys.readouterr().out)
        assert {int(tokens) + int(padding or 0) for tokens, padding in found} == {length}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--rows", "0"], 2, "--rows 0 must be >= 1"),
        (["--step", "-1"], 2, "--step -1 must be >= 0"),
        (["--step", "12"], 2, "--step 12 must be < config.train.steps=12"),
        (["--step", "99", "--split", "eval"], 2, "--step 99 must be < "),
        (["--config.data.directory=nowhere"], 1, "no prepared corpus at nowhere"),
    ],
)
def test_a_fault_is_one_line(options, status, message, experiment, prepared, capsys):
    assert main(["inspect", "--config", str(experiment), *options]) == status
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if line.startswith("bert-jax: "))
    assert message in line
    assert "Traceback" not in err
