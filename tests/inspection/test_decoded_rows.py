"""The marks of decoded rows, on a terminal and in a log."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from bert_jax.config import DataConfig, TokenizerConfig
from bert_jax.inspection.decoded_rows import decode_rows, print_rows
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
    """A packed row of two pairs, and one without a masked token."""
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
        "  unlabelled",
        "  A [CLS] cat [SEP]",
    ]
    assert all(sign in lines[-1] for sign in ("[MASK]‹cat›", "dog‹≠cat›", "cat‹=›"))


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (
            DataConfig(sentence_objective="nsp"),
            ["B is from another document", "B is the next text", "unlabelled"],
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
    assert "\x1b[30;106m[MASK]‹cat›" in text  # masked
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
