"""The batch contract: synthetic batches have its shapes, its types and its arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from bert_jax.batch import PRETRAINING, Batch, BatchSpec, pretraining_spec
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.config import PretrainConfig, resolve


def config_of(length: int, vocabulary: int, objective: str, *, packing: int = 1, **groups) -> PretrainConfig:
    data = {"sequence_length": length, "sentence_objective": objective, "packing": packing}
    return resolve(
        {
            "data": data | groups.pop("data", {}),
            "tokenizer": {"vocab_size": vocabulary},
            "model": {"preset": "bert-tiny"},
            **groups,
        }
    )


# (config, the sizes of L, M and P that it must give)
CASES = [
    (config_of(128, 30522, "nsp"), 128, 20, 1),
    (config_of(512, 500, "sop"), 512, 77, 1),
    (config_of(9, 11, "none"), 9, 2, 1),
    (config_of(16, 7, "none", masking={"max_predictions": 16}), 16, 16, 1),
    (config_of(50, 11, "nsp", packing=4), 50, 8, 4),
    (config_of(16, 11, "sop", packing=5), 16, 3, 5),  # room for three
]
each_case = pytest.mark.parametrize(
    ("config", "length", "slots", "packing"), CASES, ids=lambda v: v if isinstance(v, int) else ""
)


@each_case
@pytest.mark.parametrize("rows", [1, 5])
def test_every_field_has_the_shape_its_name_spells_and_its_type(config, length, slots, packing, rows):
    sizes = {"BL": (rows, length), "BM": (rows, slots), "BP": (rows, packing), "B": (rows,)}
    expected = {name: sizes[name.rpartition("_")[2]] for name in PRETRAINING}
    batch = synthetic(config, rows)
    assert (
        pretraining_spec(config).shapes(rows)
        == expected
        == {name: array.shape for name, array in batch.items()}
    )
    assert {name: array.dtype for name, array in batch.items()} == PRETRAINING
    assert list(batch) == list(PRETRAINING)


@each_case
def test_a_synthetic_batch_is_full_and_inside_its_bounds(config, length, slots, packing):
    batch = synthetic(config, 64)
    for name in ("tokens_BL", "mlm_targets_BM"):
        assert batch[name].min() >= 0
        assert batch[name].max() < config.model.vocab_size
    ascending = np.diff(batch["mlm_positions_BM"], axis=1)
    assert (ascending > 0).all()  # M distinct positions a row
    assert batch["mlm_positions_BM"].min() >= 0
    assert batch["mlm_positions_BM"].max() < length
    assert (batch["mlm_weights_BM"] == 1).all()
    assert (batch["pack_ids_BL"] > 0).all()
    assert (batch["example_ids_B"] == np.arange(64)).all()


@each_case
def test_the_examples_of_a_synthetic_row_follow_each_other(config, length, slots, packing):
    batch = synthetic(config, 2)
    count = min(packing, length // 5)
    for row in range(2):
        packs, positions = batch["pack_ids_BL"][row], batch["positions_BL"][row]
        sizes = np.bincount(packs, minlength=count + 1)[1:]
        assert sizes.sum() == length
        assert sizes.max() - sizes.min() <= 1
        assert (packs == np.repeat(np.arange(1, count + 1), sizes)).all()
        assert (positions == np.concatenate([np.arange(size) for size in sizes])).all()
        firsts = batch["first_BP"][row]
        assert (firsts[:count] == np.flatnonzero(positions == 0)).all()
        assert not firsts[count:].any()
        present = np.arange(packing) < count
        has_labels = config.data.sentence_objective != "none"
        assert (batch["pair_weights_BP"][row] == present * has_labels).all()
        assert not batch["pair_labels_BP"][row, count:].any()
        for pack, size in enumerate(sizes, 1):  # A, then B
            assert (batch["type_ids_BL"][row, packs == pack] == (np.arange(size) >= size // 2)).all()


def test_labels_are_the_objectives_and_second_segments_the_formats():
    paired, unlabelled = (synthetic(config_of(16, 50, objective), 40) for objective in ("nsp", "none"))
    assert set(np.unique(paired["pair_labels_BP"])) == {0, 1}
    assert (paired["pair_weights_BP"] == 1).all()
    assert not unlabelled["pair_weights_BP"].any()
    assert (paired["type_ids_BL"] == unlabelled["type_ids_BL"]).all()
    single = synthetic(config_of(16, 50, "none", data={"format": "full_sentences"}), 40)
    assert not single["type_ids_BL"].any()


def test_the_whole_vocabulary_is_drawn():
    tokens = synthetic(config_of(64, 10, "nsp"), 64)["tokens_BL"]
    assert set(np.unique(tokens)) == set(range(10))


def test_the_seed_decides_the_tokens():
    config = config_of(16, 50, "nsp")
    first, again, other = (synthetic(config, 4, seed=seed) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in PRETRAINING)
    assert (first["tokens_BL"] != other["tokens_BL"]).any()


def test_the_fields_of_pretraining_are_those_of_the_type():
    """So mypy finds a misspelt field of what the pipeline gives."""
    assert list(PRETRAINING) == list(Batch.__annotations__)


def test_a_task_declares_the_fields_and_axes_of_its_own():
    spec = BatchSpec({"tokens_BL": np.int32, "scores_BX": np.float32}, {"L": 7, "X": 3})
    assert spec.length == 7
    assert spec.shapes(2) == {"tokens_BL": (2, 7), "scores_BX": (2, 3)}
    zeros = spec.zeros(2)
    assert {name: (values.shape, values.dtype) for name, values in zeros.items()} == {
        "tokens_BL": ((2, 7), np.int32),
        "scores_BX": ((2, 3), np.float32),
    }
