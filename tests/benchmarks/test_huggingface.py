"""The baselines: what they lack, what they need, and that they do the same work."""

import sys

import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.errors import ConfigError, UserError


@pytest.mark.parametrize("absent", [("torch",), ("transformers",), ("torch", "transformers")])
def test_what_is_not_installed_is_named(absent, prepared, monkeypatch):
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    shards = open_corpus(prepared)
    for call in (
        lambda: huggingface.torch_step(prepared, {}),
        lambda: huggingface.masking_collator(prepared, shards.folder, {}),
    ):
        with pytest.raises(UserError, match="--baseline hf needs") as error:
            call()
        missing = str(error.value).partition("not installed: ")[2]
        assert [name for name in absent if name not in missing] == []


def config_of(preset, *, sentence_objective="none", **values):
    return configs.resolve(
        {"model": {"preset": preset}, "data": {"sentence_objective": sentence_objective}, **values}
    )


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"preset": "deberta-base"}, ["config.model.relative.mask_decoder=True"]),
        ({"preset": "roberta-base", "sentence_objective": "nsp"}, ["'roberta'", "sentence_objective='nsp'"]),
        ({"preset": "bert-tiny", "objective": {"name": "rtd"}}, ["config.objective.name='rtd'"]),
    ],
)
def test_what_the_step_lacks_is_said_whatever_is_installed(changes, faults, is_installed, monkeypatch):
    if not is_installed:
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.setitem(sys.modules, "transformers", None)
    if changes.get("sentence_objective"):
        changes = {**changes, "model": {"preset": changes["preset"], "pooler": "tanh"}}
    model = changes.pop("model", None)
    config = config_of(**changes, **({"model": model} if model else {}))
    with pytest.raises(ConfigError) as error:
        huggingface.torch_step(config, {})
    assert [fault for fault in faults if fault not in str(error.value)] == []


@pytest.mark.parametrize(
    ("preset", "sentence_objective", "name"),
    [
        ("bert-tiny", "nsp", "BertForPreTraining"),
        ("bert-tiny", "none", "BertForMaskedLM"),
        ("albert-base-v2", "sop", "AlbertForPreTraining"),
        ("roberta-base", "none", "RobertaForMaskedLM"),
        ("deberta-v3-base", "none", "DebertaV2ForMaskedLM"),
        ("electra-small", "none", "ElectraForMaskedLM"),
    ],
)
def test_the_class_has_the_heads_of_the_configuration(preset, sentence_objective, name):
    assert huggingface.architecture(config_of(preset, sentence_objective=sentence_objective)) == name


def test_the_collator_gets_the_rows_unmasked(prepared):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    shards = open_corpus(prepared)
    batch = Batches(shards, prepared, "train").at(0)
    collate = huggingface.masking_collator(prepared, shards.folder, batch)
    result = collate()
    assert result["input_ids"].shape == batch["tokens_BL"].shape
    labels = result["labels"].numpy()
    tokens = np.where(labels != -100, labels, result["input_ids"].numpy())
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    unmasked = batch["tokens_BL"].copy()
    unmasked[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    assert (tokens == unmasked).all()
    assert (result["attention_mask"].numpy() == (batch["pack_ids_BL"] > 0)).all()
    special = [shards.special.cls, shards.special.sep, shards.special.pad]
    assert not np.isin(labels, special).any()
    shown = {tuple(collate()["input_ids"].flatten().tolist()) for _ in range(3)}
    assert len(shown) == 3  # new masks each time


def test_a_step_trains_every_parameter():
    """ALBERT has both heads and shares its layers; a gradient reaches all, or AdamW would not move them."""
    torch = pytest.importorskip("torch", reason="the baseline is PyTorch")
    pytest.importorskip("transformers", reason="the baseline is transformers'")
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
        step = huggingface.torch_step(config, synthetic(config, 4))
    before = [parameter.detach().clone() for parameter in made]
    step()
    assert sum(parameter.numel() for parameter in made) > 2_000
    assert all((old != new).any() for old, new in zip(before, made, strict=True))
