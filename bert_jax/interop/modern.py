"""ModernBERT, whose implementation in `transformers` Ettin, mmBERT and others share, and NeoBERT, which has one of its own:
their entries in the table of families, and what their config.json says in other words than ours."""

from __future__ import annotations

from typing import Any

from bert_jax.config.model import ModelConfig, Reach, shortest_pattern
from bert_jax.errors import UserError
from bert_jax.interop.config_fields import Reader, Special
from bert_jax.interop.family import KEYS, MLM, Family, classes, layers, without
from bert_jax.interop.task_classes import TaskClass
from bert_jax.models.parameters import LAYER

_FUSED = tuple(f"{LAYER}attention/{name}/kernel" for name in ("query", "key", "value"))

# ---------------------------------------------------------------------------------------------
# ModernBERT: layers of two reaches, each with its own rotary base
# ---------------------------------------------------------------------------------------------

_TYPES: dict[str, Reach] = {"full_attention": "global", "sliding_attention": "local"}
_OLD_BASES = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


def _read_layers(reader: Reader) -> dict[str, Any]:
    """Which layers reach how far, and by which bases they turn."""
    pattern, bases = _read_pattern(reader), _read_bases(reader)
    found: dict[str, Any] = {"pattern": pattern, "rotary.base": bases["full_attention"]}
    if "local" not in pattern:
        return found
    width = reader.size("local_attention", least=2)
    return found | {"window": width // 2, "rotary.local_base": bases["sliding_attention"]}


def _write_layers(config: ModelConfig, pad: int) -> dict[str, Any]:
    return _write_reaches(config) | _write_bases(config)


def _read_pattern(reader: Reader) -> tuple[Reach, ...]:
    count, types = reader.size("num_hidden_layers"), reader.raw.get("layer_types")
    every = reader.size("global_attn_every_n_layers")
    others: list[Reach] = ["local"] * (every - 1)
    counted: tuple[Reach, ...] = ("global", *others)
    if types is None:
        pattern = counted
    else:
        if not isinstance(types, list) or len(types) != count or any(name not in _TYPES for name in types):
            reader.fail("layer_types", f"a list of {count} of {', '.join(_TYPES)}")
        pattern = shortest_pattern([_TYPES[name] for name in types])
        if "global_attn_every_n_layers" in reader.given and _over(pattern, count) != _over(counted, count):
            reader.fail(
                "global_attn_every_n_layers", f"as layer_types, whose pattern is {', '.join(pattern)}"
            )
    return pattern if "local" in pattern[:count] else ("global",)


def _over(pattern: tuple[Reach, ...], count: int) -> list[Reach]:
    return [pattern[i % len(pattern)] for i in range(count)]


def _write_reaches(config: ModelConfig) -> dict[str, Any]:
    """Both spellings: version 5 of `transformers` reads `layer_types`, others count."""
    period, names = len(config.pattern), {ours: theirs for theirs, ours in _TYPES.items()}
    if config.pattern != ("global", *("local",) * (period - 1)):
        raise UserError(
            f"model.pattern={','.join(config.pattern)} must be global, then only local, to be exported as 'modernbert',"
            " whose kernels count global layers: train with that, or export with --format safetensors"
        )
    return {
        "global_attn_every_n_layers": period,
        "layer_types": [names[config.reach(i)] for i in range(config.num_layers)],
        "local_attention": 2 * config.window,
    }


def _read_bases(reader: Reader) -> dict[str, float]:
    given = reader.raw.get("rope_parameters")
    found = given if isinstance(given, dict) else {}
    if given is not None and not isinstance(given, dict):
        reader.fail("rope_parameters", "an object")
    if reader.raw.get("rope_scaling") is not None:
        reader.fail("rope_scaling", "null", reader.foreign)
    bases: dict[str, float] = {}
    for kind, old in _OLD_BASES.items():
        entry = found.get(kind) or {}
        if not isinstance(entry, dict) or entry.get("rope_type", "default") != "default":
            reader.fail("rope_parameters", "of rope_type default", reader.foreign)
        value = entry.get("rope_theta", reader.raw.get(old))
        if value is None and old == "local_rope_theta":  # as the global layers'
            value = bases["full_attention"]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 1:
            reader.fail("rope_parameters" if entry else old, "a base > 1")
        bases[kind] = float(value)
    return bases


def _write_bases(config: ModelConfig) -> dict[str, Any]:
    thetas = {"full_attention": config.rotary.base, "sliding_attention": config.rotary.local_base}
    return {old: thetas[kind] for kind, old in _OLD_BASES.items()} | {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()
        }
    }


_PLACES = {"embeddings": "embedding_dropout", "attention": "attention_dropout", "mlp": "mlp_dropout"}


def _read_dropout(reader: Reader) -> dict[str, Any]:
    rates = {place: reader.rate(key) for place, key in _PLACES.items()}
    places = tuple(place for place, rate in rates.items() if rate > 0)
    if len({rates[place] for place in places}) > 1:
        reader.fail("mlp_dropout", f"0 or as embedding_dropout and attention_dropout, {rates}")
    found: dict[str, Any] = {
        "dropout_rate": max(rates.values()),
        "attention_dropout_rate": rates["attention"],
    }
    return found | ({"dropout_at": places} if places else {})


def _write_dropout(config: ModelConfig, pad: int) -> dict[str, Any]:
    """One key is for attention's probabilities and its output: that of the probabilities is written."""
    return {
        "embedding_dropout": config.dropout("embeddings"),
        "attention_dropout": config.attention_dropout_rate,
        "mlp_dropout": config.dropout("mlp"),
    }


_MODERN_LAYER = {
    "attention_norm": "attn_norm",
    "attention/output": "attn.Wo",
    "mlp_norm": "mlp_norm",
    "mlp_gated_in": "mlp.Wi",
    "mlp_out": "mlp.Wo",
}
_MODERN_HEAD = {"dense": "head.dense", "norm": "head.norm", "output": "classifier"}


def _modern_task(form: Any, suffix: str, pooling: str = "") -> TaskClass:
    names = {f"task_head/{ours}": theirs for ours, theirs in _MODERN_HEAD.items()}
    return TaskClass(
        name=f"ModernBertFor{suffix}", form=form, names=names, hidden="transform",
        dropout=("classifier_dropout",), pooling=pooling,
    )  # fmt: skip


MODERNBERT = Family(
    model_type="modernbert",
    prefix="model",
    names={
        "bert/embeddings/token": "model.embeddings.tok_embeddings.weight",
        "bert/embeddings/norm": "model.embeddings.norm",
        **layers("model.layers.{i}", _MODERN_LAYER),
        "bert/encoder/norm": "model.final_norm",
        "mlm_head/dense": "head.dense",
        "mlm_head/layer_norm": "head.norm",
        "mlm_head/bias": "decoder.bias",
    },
    fused=((_FUSED, "model.layers.{i}.attn.Wqkv.weight", "QHK D"),),
    tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    architectures=classes(ModernBertForMaskedLM=(MLM,), ModernBertModel=()),
    tasks=(
        _modern_task("text", "SequenceClassification", "classifier_pooling"),
        _modern_task("tagging", "TokenClassification"),
        _modern_task("span", "QuestionAnswering"),
    ),
    keys=without(KEYS, "type_vocab_size", "dropout_rate", "attention_dropout_rate")
    | {"activation": "hidden_activation", "norm.eps": "norm_eps"},
    specials=(
        Special(_read_layers, _write_layers),
        Special(_read_dropout, _write_dropout),
    ),
    activations={"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"},
    fixed={
        "pooler": "none",
        "type_vocab_size": 0,
        "positions": "rotary",
        "mlp": "geglu",
        "biases": False,
        "norm.place": "before",
        "norm.bias": False,
        "norm.first": False,
        "initializer": "megatron",
    },
    defaults={
        "vocab_size": 50368,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "pad_token_id": 50283,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
        "global_rope_theta": 160_000.0,
        "local_rope_theta": 10_000.0,
        "embedding_dropout": 0.0,
        "attention_dropout": 0.0,
        "mlp_dropout": 0.0,
        "classifier_dropout": 0.0,
        "classifier_pooling": "cls",
    },
    required={
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "classifier_activation": "gelu",
        "tie_word_embeddings": True,
    },
)

# ---------------------------------------------------------------------------------------------
# NeoBERT: not in `transformers`; the hub's own code opens its directories
# ---------------------------------------------------------------------------------------------


def _neobert_width(size: int) -> int:
    """F of a config.json's intermediate_size: two thirds of it, to a multiple of eight (the hub's code)."""
    return 8 * -(-int(2 * size / 3) // 8)


def _read_width(reader: Reader) -> dict[str, Any]:
    width, heads = reader.size("hidden_size"), reader.size("num_attention_heads")
    if reader.raw.get("dim_head", width // heads) * heads != width:
        reader.fail("dim_head", f"hidden_size / num_attention_heads = {width // heads}", reader.foreign)
    return {"mlp_size": _neobert_width(reader.size("intermediate_size"))}


def _write_width(config: ModelConfig, pad: int) -> dict[str, Any]:
    size = config.mlp_size * 3 // 2
    if _neobert_width(size) != config.mlp_size:
        raise UserError(
            f"model.mlp_size={config.mlp_size} must be a multiple of 8 to be exported as 'neobert': train with that, or"
            " export with --format safetensors"
        )
    return {
        "intermediate_size": size,
        "dim_head": config.head_dim,
        **{f"{part}_init_range": config.initializer_range for part in ("embedding", "decoder", "classifier")},
        "auto_map": {
            "AutoConfig": "chandar-lab/NeoBERT--model.NeoBERTConfig",
            "AutoModel": "chandar-lab/NeoBERT--model.NeoBERT",
            "AutoModelForMaskedLM": "chandar-lab/NeoBERT--model.NeoBERTLMHead",
            "AutoModelForSequenceClassification": "chandar-lab/NeoBERT--model.NeoBERTForSequenceClassification",
        },
    }


_NEO_LAYER = {
    "attention_norm": "attention_norm",
    "attention/output": "wo",
    "mlp_norm": "ffn_norm",
    "mlp_gated_in": "ffn.w12",
    "mlp_out": "ffn.w3",
}

NEOBERT = Family(
    model_type="neobert",
    prefix="model",
    names={
        "bert/embeddings/token": "model.encoder.weight",
        **layers("model.transformer_encoder.{i}", _NEO_LAYER),
        "bert/encoder/norm": "model.layer_norm",
        "mlm_head/decoder": "decoder.weight",
        "mlm_head/bias": "decoder.bias",
    },
    fused=((_FUSED, "model.transformer_encoder.{i}.qkv.weight", "HQK D"),),
    tied={},
    architectures=classes(NeoBERTLMHead=(MLM,), NeoBERT=()),
    tasks=(
        TaskClass(
            name="NeoBERTForSequenceClassification",
            form="text",
            names={"task_head/dense": "dense", "task_head/output": "classifier"},
            hidden="tanh",
            dropout=("classifier_dropout",),
        ),
    ),
    keys=without(
        KEYS,
        *("type_vocab_size", "dropout_rate", "attention_dropout_rate", "activation", "mlp_size"),
        "initializer_range",
    )
    | {"max_positions": "max_length", "norm.eps": "norm_eps"},
    specials=(Special(_read_width, _write_width),),
    activations={},
    fixed={
        "pooler": "none",
        "type_vocab_size": 0,
        "positions": "rotary",
        "rotary.pairs": "neighbours",
        "mlp": "swiglu",
        "biases": False,
        "norm.kind": "rms",
        "norm.place": "before",
        "norm.embeddings": False,
        "mlm_head.transform": False,
        "mlm_head.tied": False,
        "initializer": "uniform",
        "dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    },
    defaults={
        "num_hidden_layers": 28,
        "max_length": 4096,
        "norm_eps": 1e-6,
        "vocab_size": 32064,
        "classifier_dropout": 0.1,
    },
    required={"rms_norm": True, "rope": True},
)
