"""What a loaded model does: calls, masks, counts; and which directories are models."""

import dataclasses

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax.api import Model
from bert_jax.config import TokenizerConfig
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop.native import save_native
from bert_jax.models import bert
from bert_jax.models.bert import parameter_count
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks

CONFIG = ModelConfig(
    vocab_size=300, hidden_size=12, num_layers=1, num_heads=2, mlp_size=20, max_positions=16, pooler="none"
)


def tokenizer_of(kind):
    config = TokenizerConfig(kind=kind, vocab_size=300)
    return tokenizers.train(count_chunks(["the red cat sees the old dog"]), config)


def model_of(config=CONFIG, *, heads=None, kind="wordpiece"):
    return Model(config, bert.init_params(config, jax.random.key(0), heads=heads), tokenizer_of(kind))


def test_a_mask_may_be_written_either_way():
    model = model_of(kind="bpe")
    assert model.tokenizer.names["mask"] == "<mask>"
    [mask] = model.fill_mask("the red [MASK]", top_k=3)
    assert [mask] == model.fill_mask("the red <mask>", top_k=3)
    assert len(mask) == 3
    wordpiece = model_of()
    assert len(wordpiece.fill_mask("the [MASK] sees the [MASK]")) == 2
    with pytest.raises(UserError, match=r"has no \[MASK\]"):
        wordpiece.fill_mask("the <mask> sees")


def test_without_its_heads_a_model_says_so_in_none_and_in_words():
    model = model_of(heads=("rtd",))
    out = model(np.zeros((2, 5), int))
    assert (out.pooled_BD, out.mlm_logits_BLV, out.pair_logits_BC) == (None, None, None)
    assert out.rtd_logits_BL.shape == (2, 5) and out.attentions == ()
    with pytest.raises(UserError, match="no masked-language-model head"):
        model.fill_mask("the [MASK]")
    with pytest.raises(UserError, match="the model's directory has no tokenizer"):
        Model(CONFIG, model.params, None).embed(["the"])


@pytest.mark.parametrize("offset", [0, 2])
def test_the_longest_row_does_not_count_the_offset_of_positions(offset):
    model = model_of(dataclasses.replace(CONFIG, position_offset=offset))
    assert model(np.zeros((1, 16), int)).mlm_logits_BLV.shape == (1, 16, 300)
    with pytest.raises(UserError, match="17 tokens must be <= the model's max_positions=16"):
        model(np.zeros((1, 17), int))


def test_attentions_are_returned_when_asked_for():
    model, mask_BL = model_of(), np.arange(6)[None] < 4
    tokens_BL = np.arange(6)[None] + 10
    out = model(tokens_BL, mask_BL=mask_BL, attentions=True)
    [att_BHLT] = out.attentions
    assert att_BHLT.shape == (1, 2, 6, 6)
    np.testing.assert_allclose(att_BHLT.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(att_BHLT[..., 4:], 0)
    np.testing.assert_array_equal(out.hidden_BLD, model(tokens_BL, mask_BL=mask_BL).hidden_BLD)


def test_a_model_trained_with_cudnn_runs_where_there_is_none(tmp_path):
    config = dataclasses.replace(CONFIG, dtype="bfloat16")
    model = model_of(config)
    fused = dataclasses.replace(config, attention_backend="cudnn", attention_dropout_rate=0.0)
    save_native(tmp_path / "model", model.params, config=fused, tokenizer=None)
    tokens_BL = np.arange(6)[None]
    found = bert_jax.load(tmp_path / "model")
    assert found.config == fused
    np.testing.assert_array_equal(found(tokens_BL).mlm_logits_BLV, model(tokens_BL).mlm_logits_BLV)


def test_parameters_are_counted_with_the_heads_and_shared_ones_once():
    shared = dataclasses.replace(CONFIG, num_layers=3, sharing="all")
    encoder = parameter_count(CONFIG)
    assert parameter_count(shared) == encoder
    head = 12 * 12 + 12 + 2 * 12 + 300  # dense, LayerNorm, bias; the projection is tied
    assert model_of(shared).parameter_count == model_of().parameter_count == encoder + head


def test_what_is_no_model_is_listed(tmp_path):
    with pytest.raises(UserError, match=r"no such directory: .*absent; correct the path"):
        bert_jax.load(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no model that can be read here: .*it holds nothing"):
        bert_jax.load(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"workdir .*bert_jax.json.*Hugging Face.*TF1.*; it holds notes.txt"):
        bert_jax.load(tmp_path)


def test_only_a_run_of_two_encoders_has_parts(tmp_path):
    model = model_of()
    save_native(tmp_path / "model", model.params, config=CONFIG, tokenizer=None)
    assert bert_jax.load(tmp_path / "model").config == CONFIG
    with pytest.raises(UserError, match=r"model: has no generator: only the workdir of a run with objective"):
        bert_jax.load(tmp_path / "model", part="generator")
