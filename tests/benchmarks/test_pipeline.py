"""What is measured of the input pipeline."""

import dataclasses

import numpy as np
import pytest

from bert_jax.benchmarks import pipeline
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus


def test_rates_and_seek_are_of_the_configured_batch(prepared):
    values = pipeline.measure(prepared, seconds=0.1, repeats=1)
    assert values["batch"] == [8, 32]
    assert values["tokens_per_s"] == pytest.approx(values["rows_per_s"] * 32)
    assert values["seek_to_step_1e6_ms"] > 0
    assert "ratio" not in values


def test_the_masking_collator_is_measured_beside_it(prepared):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    values = pipeline.measure(prepared, seconds=0.1, repeats=1, baseline="hf")
    assert values["ratio"] == pytest.approx(values["rows_per_s"] / values["hf_rows_per_s"])


def test_fill_is_the_part_of_the_slots_that_holds_a_token(prepared):
    masking = dataclasses.replace(prepared.masking, unit="whole_word")
    config = dataclasses.replace(
        prepared, masking=masking, train=dataclasses.replace(prepared.train, batch_size=1)
    )
    values = pipeline.measure(config, seconds=0.01, repeats=1)
    batches = Batches(open_corpus(config), config, "train")
    used = [int((batch["pack_ids_BL"] > 0).sum()) for batch in batches.iterate(0, batches.count)]
    assert values["rows_in_index"] == len(used)
    assert values["fill"] == pytest.approx(np.mean(used) / 32)
