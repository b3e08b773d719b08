"""Directories of ModernBERT and NeoBERT: both spellings of config.json, what is refused, what an export writes."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.config.presets import PRESETS
from bert_jax.errors import UserError
from bert_jax.interop.config_json import config_from_hf, config_to_hf
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from tests.configs import changed
from tests.interop.small import CONFIGS, TOKENIZER, params_of
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


# ---------------------------------------------------------------------------------------------
# Tensors
# ---------------------------------------------------------------------------------------------

LAYERS = {"modernbert": "model.layers", "neobert": "model.transformer_encoder"}
FUSED = {"modernbert": "attn.Wqkv", "neobert": "qkv"}


@pytest.fixture(params=LAYERS)
def exported(request, tmp_path):
    """(family, folder, its tensors)."""
    config = CONFIGS[request.param]
    save_hf(tmp_path / "model", params_of(config), config=config, tokenizer=TOKENIZER)
    return request.param, tmp_path / "model", load_file(tmp_path / "model" / "model.safetensors")


def refusal(folder, tensors):
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError) as refused:
        load_hf(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_tensor_too_few_of_another_shape_or_too_many(exported):
    family, folder, tensors = exported
    fused = f"{LAYERS[family]}.1.{FUSED[family]}.weight"
    without = {name: array for name, array in tensors.items() if name != fused}
    assert f"tensor {fused} of shape (36, 12) is missing" in refusal(folder, without)
    turned = tensors | {fused: np.ascontiguousarray(tensors[fused].T)}
    assert f"tensor {fused} has shape (12, 36), config.json says (36, 12)" in refusal(folder, turned)
    bias = f"{LAYERS[family]}.1.{FUSED[family]}.bias"
    more = refusal(folder, tensors | {bias: np.zeros(36, np.float32)})
    assert f"tensors inside the encoder that config.json (4 layers) has no place for: {bias}" in more


def test_the_first_layer_of_modernbert_has_no_norm_and_the_decoder_is_tied(tmp_path):
    config = CONFIGS["modernbert"]
    save_hf(tmp_path / "model", params_of(config), config=config, tokenizer=TOKENIZER)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert "model.layers.1.attn_norm.weight" in tensors
    extra = "model.layers.0.attn_norm.weight"
    assert f"has no place for: {extra}" in refusal(
        tmp_path / "model", tensors | {extra: np.ones(12, np.float32)}
    )
    other = tensors["model.embeddings.tok_embeddings.weight"] + 1
    assert "decoder.weight (41, 12) must equal model.embeddings.tok_embeddings.weight" in refusal(
        tmp_path / "model", tensors | {"decoder.weight": other}
    )


def test_names_without_the_prefix_are_read(exported):
    family, folder, tensors = exported
    save_file(
        {name.removeprefix("model."): array for name, array in tensors.items()}, folder / "model.safetensors"
    )
    config, params, report = load_hf(folder)
    assert (config, report.unexpected) == (CONFIGS[family], ())
    expected = params_of(CONFIGS[family])
    np.testing.assert_array_equal(
        params["bert"]["encoder"]["layer_1"]["attention"]["key"]["kernel"],
        expected["bert"]["encoder"]["layer_1"]["attention"]["key"]["kernel"],
    )
