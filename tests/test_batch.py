"""The batch contract: synthetic batches have its shapes, its types and its arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from bert_jax.batch import FIELDS, shapes, synthetic
from bert_jax.config import Config, resolve


def config_of(length: int, vocabulary: int, objective: str, **masking) -> Config:
    return resolve(
        {
            "data": {"sequence_length": length, "sentence_objective": objective},
            "tokenizer": {"vocab_size": vocabulary},
            "model": {"preset": "bert-tiny"},
            "masking": masking,
        }
    )


# (config, the sizes of L and M that it must give)
CASES = [
    (config_of(128, 30522, "nsp"), 128, 20),
    (config_of(512, 500, "sop"), 512, 77),
    (config_of(9, 11, "none"), 9, 2),
    (config_of(16, 7, "none", max_predictions=16), 16, 16),
]


@pytest.mark.parametrize(("config", "length", "slots"), CASES, ids=lambda v: v if isinstance(v, int) else "")
@pytest.mark.parametrize("rows", [1, 5])
def test_every_field_has_the_shape_its_name_spells_and_its_type(config, length, slots, rows):
    sizes = {"BL": (rows, length), "BM": (rows, slots), "BP": (rows, 1), "B": (rows,)}
    expected = {name: sizes[name.rpartition("_")[2]] for name in FIELDS}
    batch = synthetic(config, rows)
    assert shapes(config, rows) == expected == {name: array.shape for name, array in batch.items()}
    assert {name: array.dtype for name, array in batch.items()} == FIELDS
    assert list(batch) == list(FIELDS)


@pytest.mark.parametrize(("config", "length", "slots"), CASES, ids=lambda v: v if isinstance(v, int) else "")
def test_a_synthetic_batch_is_full_and_inside_its_bounds(config, length, slots):
    batch = synthetic(config, 64)
    for name in ("tokens_BL", "mlm_targets_BM"):
        assert batch[name].min() >= 0
        assert batch[name].max() < config.model.vocab_size
    ascending = np.diff(batch["mlm_positions_BM"], axis=1)
    assert (ascending > 0).all()  # M distinct positions a row
    assert batch["mlm_positions_BM"].min() >= 0
    assert batch["mlm_positions_BM"].max() < length
    assert (batch["mlm_weights_BM"] == 1).all()
    assert (batch["pack_ids_BL"] == 1).all()
    assert (batch["positions_BL"] == np.arange(length)).all()
    assert (batch["example_ids_B"] == np.arange(64)).all()


def test_only_a_sentence_objective_has_labels_and_second_segments():
    paired, single = (synthetic(config_of(16, 50, objective), 40) for objective in ("nsp", "none"))
    assert set(np.unique(paired["type_ids_BL"])) == {0, 1}
    assert set(np.unique(paired["pair_labels_BP"])) == {0, 1}
    assert (paired["pair_weights_BP"] == 1).all()
    assert not single["type_ids_BL"].any()
    assert not single["pair_weights_BP"].any()


def test_the_whole_vocabulary_is_drawn():
    tokens = synthetic(config_of(64, 10, "nsp"), 64)["tokens_BL"]
    assert set(np.unique(tokens)) == set(range(10))


def test_the_seed_decides_the_tokens():
    config = config_of(16, 50, "nsp")
    first, again, other = (synthetic(config, 4, seed=seed) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in FIELDS)
    assert (first["tokens_BL"] != other["tokens_BL"]).any()
