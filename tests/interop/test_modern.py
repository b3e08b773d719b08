"""config.json of ModernBERT and NeoBERT: both spellings, what is refused, what an export writes."""

import pytest

from bert_jax.config.presets import PRESETS
from bert_jax.errors import UserError
from bert_jax.interop.config_json import config_from_hf, config_to_hf
from tests.configs import changed
from tests.interop.test_config_json import PUBLISHED

OLD, NEW, NEO = PUBLISHED["modernbert-base"], PUBLISHED["modernbert-large"], PUBLISHED["neobert"]
FULL, SLIDING = "full_attention", "sliding_attention"


def read(raw, **values):
    return config_from_hf({key: v for key, v in (raw | values).items() if v is not ...}, place="config.json")


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"global_attn_every_n_layers": 1}, {"pattern": ("global",), "rotary__local_base": 10_000.0}),
        ({"local_attention": 256}, {"window": 128}),
        ({"local_rope_theta": None}, {"rotary__local_base": 160_000.0}),
        ({"global_rope_theta": 5e4, "local_rope_theta": 2e4}, {"rotary__base": 5e4, "rotary__local_base": 2e4}),
        ({"layer_types": [FULL, SLIDING] * 11, "global_attn_every_n_layers": 2}, {"pattern": ("global", "local")}),
        (
            {"rope_parameters": {FULL: {"rope_theta": 7e4}, SLIDING: None}},
            {"rotary__base": 7e4, "rotary__local_base": 10_000.0},
        ),
        ({"embedding_dropout": 0.1, "mlp_dropout": 0.1}, {"dropout_rate": 0.1, "dropout_at": ("embeddings", "mlp")}),
    ],
)  # fmt: skip
def test_what_the_keys_say(values, fields):
    expected = changed(PRESETS["modernbert-base"], **fields)
    found = read(OLD, **values)
    assert found == changed(expected, preset=found.preset)


@pytest.mark.parametrize(
    ("raw", "values", "message"),
    [
        (OLD, {"norm_bias": True}, "norm_bias=True must be False"),
        (OLD, {"attention_bias": True}, "attention_bias=True must be False"),
        (OLD, {"mlp_bias": True}, "mlp_bias=True must be False"),
        (OLD, {"classifier_bias": True}, "classifier_bias=True must be False"),
        (OLD, {"decoder_bias": False}, "decoder_bias=False must be True"),
        (OLD, {"tie_word_embeddings": False}, "tie_word_embeddings=False must be True"),
        (OLD, {"hidden_activation": "silu"}, "hidden_activation='silu' must be one of gelu, gelu_pytorch_tanh"),
        (OLD, {"num_attention_heads": 256}, "hidden_size=768 must be an even multiple of num_attention_heads=256"),
        (OLD, {"local_attention": 1}, "local_attention=1 must be a whole number >= 2"),
        (OLD, {"global_rope_theta": 0.5}, "global_rope_theta=0.5 must be a base > 1"),
        (OLD, {"rope_scaling": {"type": "yarn"}}, "rope_scaling={'type': 'yarn'} must be null"),
        (NEW, {"rope_parameters": {FULL: {"rope_type": "yarn"}}}, "must be of rope_type default"),
        (NEW, {"layer_types": [FULL] * 3}, "must be a list of 28 of full_attention, sliding_attention"),
        (NEW, {"global_attn_every_n_layers": 2}, "must be as layer_types, whose pattern is global, local, local"),
        (OLD, {"embedding_dropout": 0.1, "mlp_dropout": 0.2}, "mlp_dropout=0.2 must be 0 or as embedding_dropout"),
        (NEO, {"dim_head": 32}, "dim_head=32 must be hidden_size / num_attention_heads = 64"),
        (NEO, {"rms_norm": False}, "rms_norm=False must be True"),
    ],
)  # fmt: skip
def test_what_would_change_the_function_is_refused_by_name(raw, values, message):
    with pytest.raises(UserError) as refused:
        read(raw, **values)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_an_export_is_spelt_for_old_and_new_versions():
    raw = config_to_hf(PRESETS["ettin-17m"], pad_token_id=50283)
    assert raw["layer_types"] == [FULL, SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL]
    assert (raw["global_attn_every_n_layers"], raw["local_attention"]) == (3, 128)
    assert raw["global_rope_theta"] == raw["rope_parameters"][SLIDING]["rope_theta"] == 160_000.0


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "modernbert-base",
            {"pattern": ("local", "global")},
            "must be global, then only local, to be exported",
        ),
        ("modernbert-base", {"norm__first": True}, "model.norm.first=True must be False to be exported"),
        (
            "modernbert-base",
            {"positions": "alibi"},
            "model.positions='alibi' must be 'rotary' to be exported",
        ),
        ("neobert", {"mlp_size": 2044}, "model.mlp_size=2044 must be a multiple of 8 to be exported"),
        ("neobert", {"mlm_head__tied": True}, "model.mlm_head.tied=True must be False to be exported"),
    ],
)
def test_what_no_model_of_the_family_computes_is_not_written(name, fields, message):
    with pytest.raises(UserError, match=message):
        config_to_hf(changed(PRESETS[name], **fields), pad_token_id=0)
