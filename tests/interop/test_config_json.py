"""config.json as it is published, and as our presets have it; refusals are in test_load and test_save."""

import dataclasses

import pytest

from bert_jax.config.model import ModelConfig
from bert_jax.config.presets import PRESETS
from bert_jax.errors import UserError
from bert_jax.interop.config_json import config_from_hf, config_to_hf, family_of
from bert_jax.interop.families import FAMILIES
from tests.configs import changed

_COMMON = {
    "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02, "max_position_embeddings": 512, "num_attention_heads": 12,
    "num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072,
}  # fmt: skip
_DEBERTA_V2 = _COMMON | {
    "model_type": "deberta-v2", "relative_attention": True, "position_buckets": 256, "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7,
    "max_relative_positions": -1, "position_biased_input": False, "vocab_size": 128100,
}  # fmt: skip
# What the hub's config.json say, as far as anything of it is computed.
_MODERN = {
    "architectures": ["ModernBertForMaskedLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 50281, "classifier_activation": "gelu", "classifier_bias": False, "classifier_dropout": 0.0,
    "classifier_pooling": "mean", "cls_token_id": 50281, "decoder_bias": True, "deterministic_flash_attn": False,
    "embedding_dropout": 0.0, "eos_token_id": 50282, "hidden_activation": "gelu",
    "initializer_cutoff_factor": 2.0, "initializer_range": 0.02, "local_attention": 128,
    "max_position_embeddings": 8192, "mlp_bias": False, "mlp_dropout": 0.0, "model_type": "modernbert",
    "norm_bias": False, "norm_eps": 1e-05, "pad_token_id": 50283, "sep_token_id": 50282,
    "sparse_pred_ignore_index": -100, "sparse_prediction": False, "vocab_size": 50368,
}  # fmt: skip
PUBLISHED = {
    "roberta-base": _COMMON | {
        "model_type": "roberta", "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "pad_token_id": 1,
        "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1, "vocab_size": 50265,
    },
    "albert-base-v2": _COMMON | {
        "model_type": "albert", "attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0,
        "hidden_act": "gelu_new", "embedding_size": 128, "inner_group_num": 1, "num_hidden_groups": 1,
        "net_structure_type": 0, "layer_norm_eps": 1e-12, "type_vocab_size": 2, "vocab_size": 30000,
    },
    "electra-small": _COMMON | {
        "model_type": "electra", "embedding_size": 128, "hidden_size": 256, "intermediate_size": 1024,
        "num_attention_heads": 4, "layer_norm_eps": 1e-12, "type_vocab_size": 2, "vocab_size": 30522,
    },
    "distilbert": {
        "model_type": "distilbert", "activation": "gelu", "attention_dropout": 0.1, "dim": 768, "dropout": 0.1,
        "hidden_dim": 3072, "max_position_embeddings": 512, "n_heads": 12, "n_layers": 6,
        "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522,
    },
    "deberta-base": _COMMON | {
        "model_type": "deberta", "max_relative_positions": -1, "position_biased_input": False,
        "pos_att_type": "c2p|p2c", "relative_attention": True, "layer_norm_eps": 1e-7, "type_vocab_size": 0,
        "vocab_size": 50265, "padding_idx": 0,
    },
    "deberta-v3-base": _DEBERTA_V2,
    "deberta-v2-xxlarge": _DEBERTA_V2 | {
        "attention_head_size": 64, "conv_act": "gelu", "conv_kernel_size": 3, "hidden_size": 1536,
        "intermediate_size": 6144, "num_attention_heads": 24, "num_hidden_layers": 48,
        "pos_att_type": ["p2c", "c2p"], "pooler_hidden_act": "gelu", "pooler_hidden_size": 1536,
    },
    "modernbert-base": _MODERN | {
        "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
        "hidden_size": 768, "intermediate_size": 1152, "num_attention_heads": 12, "num_hidden_layers": 22,
        "layer_norm_eps": 1e-05, "position_embedding_type": "absolute", "repad_logits_with_grad": False,
        "reference_compile": None,
    },
    "modernbert-large": _MODERN | {  # as version 5 of transformers writes it
        "layer_types": [("full" if i % 3 == 0 else "sliding") + "_attention" for i in range(28)],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "hidden_size": 1024, "intermediate_size": 2624, "num_attention_heads": 16, "num_hidden_layers": 28,
    },
    "neobert": {
        "architectures": ["NeoBERTLMHead"], "auto_map": {"AutoConfig": "model.NeoBERTConfig"},
        "model_type": "neobert", "hidden_size": 768, "num_hidden_layers": 28, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_length": 4096, "norm_eps": 1e-05, "dim_head": 64, "vocab_size": 30522,
        "pad_token_id": 0, "classifier_init_range": 0.02, "decoder_init_range": 0.02,
        "embedding_init_range": 0.02,
    },
}  # fmt: skip


def as_preset(found, preset):
    """The config with what only a checkpoint's tensors say taken from the preset."""
    fields = {"pooler": preset.pooler, "relative__mask_decoder": preset.relative.mask_decoder}
    return changed(found, **fields)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_its_preset(name):
    found = config_from_hf(PUBLISHED[name], place="config.json")
    assert as_preset(found, PRESETS[name]) == PRESETS[name]


@pytest.mark.parametrize("name", ["mosaicbert-base", "crammed-bert"])
def test_a_preset_that_is_of_no_family_is_not_written(name):
    with pytest.raises(UserError, match=r"export(ed)? as 'bert'"):
        config_to_hf(PRESETS[name], pad_token_id=0)


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith(("mosaic", "crammed"))])
def test_a_preset_comes_back_from_its_config_json(name):
    config = PRESETS[name]
    raw = config_to_hf(config, pad_token_id=max(0, config.position_offset - 1))
    twin = {"electra-small-generator": "electra-small"}.get(name, name)  # of one size
    found = config_from_hf(raw, place="config.json")
    assert as_preset(found, config) == dataclasses.replace(config, preset=twin)


def test_a_preset_is_named_where_it_is_the_same_function_alone():
    def preset(**values):
        return config_from_hf({"model_type": "bert"} | values, place="config.json").preset

    small = {"num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
    assert preset(**small) == "bert-small"
    assert preset(**small, vocab_size=31000, hidden_dropout_prob=0.2, initializer_range=0.01) == "bert-small"
    assert preset(vocab_size=28996) == "bert-base-cased"
    nameless = ModelConfig().preset
    assert preset(**small, hidden_act="gelu_new") == preset(**small, type_vocab_size=3) == nameless
    assert preset(**small, layer_norm_eps=1e-5) == nameless


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_config_without_model_type_is_known_by_its_class(family):
    stem = FAMILIES[family].architectures[0][0].partition("For")[0]
    for name in (f"{stem}Model", f"{stem}ForMaskedLM", f"{stem}ForQuestionAnswering"):
        assert family_of({"architectures": [name]}, place="config.json") is FAMILIES[family]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "config.json: has no model_type, and architectures=None does not tell it: add the key with what"),
        ({"architectures": []}, "architectures=[] does not tell it"),
        ({"architectures": "BertModel"}, "architectures='BertModel' does not tell it"),
        ({"architectures": ["BertModel", "RobertaModel"]}, 'such as "model_type": "bert"'),
        ({"architectures": ["XLMRobertaModel"]}, "bert, roberta, albert, electra, distilbert, deberta, deberta-v2"),
        ({"architectures": ["BertGenerationEncoder"]}, "does not tell it"),
        ({"architectures": [3]}, "architectures=[3] does not tell it"),
        ({"model_type": "gpt2", "architectures": ["BertModel"]}, "other architectures are not computed here"),
        ({"model_type": None}, "model_type=None must be one of bert, roberta"),
    ],
)  # fmt: skip
def test_an_architecture_that_is_not_known_is_refused_with_what_to_do(raw, message):
    with pytest.raises(UserError) as refused:
        family_of(raw, place="config.json")
    assert message in str(refused.value) and "\n" not in str(refused.value)
