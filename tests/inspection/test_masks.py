"""Figures of masks on batches made by hand, and unit lengths against their expectation."""

import math

import numpy as np
import pytest

from bert_jax.config import MaskingConfig
from bert_jax.data.batches.rows import Rows
from bert_jax.inspection import masks as mask_report

MASK = 4
# [CLS] the cat sat ##ting [SEP] on mat [SEP] pad; "sat ##ting" is one word.
TEXT = np.array([[0, 1, 1, 1, 1, 0, 1, 1, 0, 0]], bool)
STARTS = np.array([[0, 1, 1, 1, 0, 0, 0, 1, 0, 0]], bool)  # "on" is the rest of a word that was cut


def make_rows(text_BL, starts_BL):
    fields = dict.fromkeys(Rows.__dataclass_fields__)
    tokens = np.zeros(text_BL.shape, np.int32)
    return Rows(**fields | {
        "tokens_BL": tokens, "is_text_BL": text_BL, "word_starts_BL": starts_BL,
        "lengths_B": text_BL.sum(axis=1) + 2,
    })  # fmt: skip


def test_words_are_numbered_through():
    assert mask_report.number_words(make_rows(TEXT, STARTS)).tolist() == [[1, 2, 3, 4, 4, 5, 6, 7, 8, 9]]


def test_masks_of_a_batch_made_by_hand():
    batch = {
        "tokens_BL": np.array(
            [[2, 20, MASK, 50, 23, 3, 24, 25, 3, 0], [2, 20, 21, 22, MASK, 3, MASK, 25, 3, 0]]
        ),
        "pack_ids_BL": np.array([[1] * 9 + [0]] * 2),
        "mlm_positions_BM": np.array([[2, 3, 7, 0], [4, 6, 0, 0]]),
        "mlm_targets_BM": np.array([[21, 22, 25, 0], [23, 24, 0, 0]]),
        "mlm_weights_BM": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.float32),
    }
    rows = make_rows(np.repeat(TEXT, 2, axis=0), np.repeat(STARTS, 2, axis=0))
    meter = mask_report.MaskingMeter(slots=4, mask_id=MASK)
    for _ in range(2):
        meter.add(batch, rows.is_text_BL, mask_report.number_words(rows))
    found = meter.result()
    assert (found["batches"], found["rows"], found["tokens"], found["predictions"]) == (2, 4, 36, 10)
    assert found["rate"]["share"] == pytest.approx(5 / 18)
    assert {name: value["share"] for name, value in found["shown"].items()} == pytest.approx(
        {"mask": 3 / 5, "random": 1 / 5, "keep": 1 / 5}
    )
    assert found["predictions_a_row"] == [0, 0, 2, 2, 0]
    assert found["full_rows"] == 0
    # cat, mat and on are predicted whole; of "sat ##ting" one piece, in either row.
    assert found["words"] == {"whole": 6, "in_part": 4}
    assert found["rate_by_position"] == [None, 0, 0.5, 0.5, 0.5, None, 0.5, 0.5, None, None]


def test_expected_shares_count_what_chance_draws():
    masking = MaskingConfig(max_predictions=4)
    whole = mask_report.expected_shown(masking, entries=10, holds_mask=True)
    assert whole == pytest.approx({"mask": 0.81, "random": 0.08, "keep": 0.11})
    ordinary = mask_report.expected_shown(masking, entries=10, holds_mask=False)
    assert ordinary == pytest.approx({"mask": 0.8, "random": 0.09, "keep": 0.11})


@pytest.mark.parametrize(
    ("masking", "expected"),
    [
        (MaskingConfig(unit="ngram", max_ngram=3), {1: 6 / 11, 2: 3 / 11, 3: 2 / 11}),
        (MaskingConfig(unit="span", span_p=0.5, max_span=3), {1: 4 / 7, 2: 2 / 7, 3: 1 / 7}),
    ],
)
def test_units_have_the_lengths_of_the_papers(masking, expected):
    masking = MaskingConfig(**{**vars(masking), "max_predictions": 30})
    assert mask_report.unit_lengths(masking) == pytest.approx(expected)
    text = np.ones((3000, 202), bool)
    text[:, [0, -1]] = False
    starts = text.copy()
    starts[:, 2::2] = False  # words of two tokens
    rows = make_rows(text, starts)
    meter = mask_report.UnitMeter(masking)
    meter.add(rows, mask_report.number_words(rows))
    found = meter.result()
    assert found["expected"] == pytest.approx(expected)
    assert sum(found["first"].values()) == 3000
    for words, share in expected.items():
        error = math.sqrt(share * (1 - share) / 3000)
        assert found["first"][words] / 3000 == pytest.approx(share, abs=4 * error)
    assert sum(words * number for words, number in found["all"].items()) == 3000 * 15
