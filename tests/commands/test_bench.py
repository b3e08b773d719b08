"""`bench`: the input pipeline, preparation, and the peers of all."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.__main__ import main
from bert_jax.batch import synthetic
from bert_jax.benchmarks import huggingface as peer
from bert_jax.commands import bench
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.errors import UserError


def test_the_pipeline_beside_the_masking_collator(prepared, capsys):
    pytest.importorskip("transformers")
    values = bench.pipeline(prepared, seconds=0.1, repeats=1, peer="hf")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == values
    assert values["ratio"] == pytest.approx(values["rows_per_s"] / values["hf_rows_per_s"])
    assert values["tokens_per_s"] == pytest.approx(values["rows_per_s"] * 32)
    assert values["seek_to_step_1e6_ms"] > 0


def test_fill_is_the_share_of_slots_that_are_used(prepared):
    masking = dataclasses.replace(prepared.masking, unit="whole_word")
    config = dataclasses.replace(
        prepared, masking=masking, train=dataclasses.replace(prepared.train, batch_size=1)
    )
    values = bench.pipeline(config, seconds=0.01, repeats=1)
    batches = Batches(open_corpus(config), config, "train")
    used = [int((batch["pack_ids_BL"] > 0).sum()) for batch in batches.iterate(0, batches.count)]
    assert values["rows_in_index"] == len(used)
    assert values["fill"] == pytest.approx(np.mean(used) / 32)


def test_the_collator_gets_our_rows_unmasked(prepared):
    pytest.importorskip("transformers")
    shards = open_corpus(prepared)
    batch = Batches(shards, prepared, "train").at(0)
    collate = peer.masking_collator(prepared, shards.folder, batch)
    result = collate()
    assert result["input_ids"].shape == batch["tokens_BL"].shape
    labels = result["labels"].numpy()
    tokens = np.where(labels != -100, labels, result["input_ids"].numpy())
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    ours = batch["tokens_BL"].copy()
    ours[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    assert (tokens == ours).all()
    assert (result["attention_mask"].numpy() == (batch["pack_ids_BL"] > 0)).all()
    special = [shards.special.cls, shards.special.sep, shards.special.pad]
    assert not np.isin(labels, special).any()
    shown = {tuple(collate()["input_ids"].flatten().tolist()) for _ in range(3)}
    assert len(shown) == 3  # new masks each time


def test_a_peer_that_is_not_installed_is_named(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="--peer hf needs torch and transformers, and transformers is not"):
        peer.torch_step(prepared, synthetic(prepared, 2))


def test_preparation_is_measured_with_the_processes_asked_for(experiment, monkeypatch):
    calls = []
    module = types.ModuleType("bert_jax.benchmarks.prepare")
    module.run = lambda config, **kwargs: calls.append((config.data.sequence_length, kwargs))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    import bert_jax.commands

    monkeypatch.setattr(bert_jax.commands, "bench_prepare", module, raising=False)
    arguments = ["bench", "--what", "prepare", "--config", str(experiment), "--repeats", "2"]
    assert not main([*arguments, "--processes", "3"])
    assert not main(arguments)
    assert calls == [(32, {"repeats": 2, "processes": 3}), (32, {"repeats": 2, "processes": None})]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "prepare", "--peer", "hf"], "--peer hf has no effect with --what prepare"),
        (["--what", "pipeline", "--processes", "2"], "--processes 2 has no effect with --what pipeline"),
        (["--what", "prepare", "--processes", "0"], "--processes 0 must be >= 1"),
        (["--what", "pipeline", "--repeats", "0"], "--seconds 10.0 and --repeats 0 must be > 0"),
    ],
)
def test_options_without_effect_or_sense_are_refused(arguments, message, capsys):
    assert main(["bench", "--config", "x.py", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_peer_of_the_step_has_no_packed_rows(experiment, capsys):
    argv = ["bench", "--what", "step", "--peer", "hf", "--config", str(experiment), "--config.data.packing=2"]
    assert main(argv) == 2
    assert capsys.readouterr().err == (
        "bert-jax: --peer hf has no packed rows: config.data.packing=2 must be 1\n"
    )


@pytest.mark.parametrize(
    ("family", "with_pairs", "name"),
    [
        ("bert", True, "BertForPreTraining"),
        ("bert", False, "BertForMaskedLM"),
        ("albert", True, "AlbertForPreTraining"),
        ("roberta", False, "RobertaForMaskedLM"),
        ("deberta_v2", False, "DebertaV2ForMaskedLM"),
        ("electra", False, "ElectraForMaskedLM"),
    ],
)
def test_the_peer_of_the_step_has_the_heads_of_ours(family, with_pairs, name):
    assert peer._architecture(family, with_pairs) == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "deberta-base"}, "--peer hf has no enhanced mask decoder: set --config.model.enhanced"),
        (
            {"preset": "roberta-base", "pooler": "tanh"},
            "--peer hf has no 'roberta' with a sentence-pair head",
        ),
    ],
)
def test_what_the_peer_of_the_step_lacks_is_said(changes, message):
    config = configs.resolve(
        {
            "model": changes,
            "data": {"sentence_objective": "none" if "deberta" in changes["preset"] else "nsp"},
        }
    )
    with pytest.raises(UserError, match=message):
        peer.torch_step(config, {})


def test_a_step_of_the_peer_trains_every_parameter():
    """ALBERT has both heads and shares its layers; a gradient reaches all, or AdamW would not move them."""
    torch = pytest.importorskip("torch", reason="the peer is PyTorch")
    pytest.importorskip("transformers", reason="the peer is transformers'")
    sizes = {"hidden_size": 16, "num_heads": 2, "mlp_size": 24, "num_layers": 2, "embedding_size": 8}
    config = configs.resolve(
        {
            "model": {"preset": "albert-base-v2", **sizes},
            "tokenizer": {"vocab_size": 40},
            "data": {"sequence_length": 8, "sentence_objective": "sop"},
            "optim": {"weight_decay": 0.0},
        }
    )
    made = []
    original = torch.optim.AdamW

    def watched(parameters, **options):
        made.extend(parameters)
        return original(made, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", watched)
        step = peer.torch_step(config, synthetic(config, 4))
    before = [parameter.detach().clone() for parameter in made]
    step()
    assert sum(parameter.numel() for parameter in made) > 2_000
    assert all((old != new).any() for old, new in zip(before, made, strict=True))
