"""The families that Hugging Face names: one entry each, of tensor names, config.json and model classes.

A family's names are those of its modules: our module -> its module, to whose name ".weight" or ".bias" is added,
or our parameter -> the tensor's whole name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bert_jax.config.head import HeadConfig
from bert_jax.interop.config_fields import (
    EMBEDDING_WIDTH,
    LAYER_GROUPS,
    POSITIONS_AFTER_PAD,
    RELATIVE,
    SECOND_DEBERTA,
    Special,
)
from bert_jax.interop.task_classes import TaskClass, form_of, task_classes
from bert_jax.models.parameters import LAYER

_POOLER, _MLM, _PAIR, _RTD = "bert/pooler", "mlm_head", "pair_head", "rtd_head"

# Our field -> config.json's key.
_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
}

# Keys that change what is computed, and the only value under which we compute the same.
_REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}

_GELUS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A family of Hugging Face's models.

    model_type: in config.json.
    prefix: of the encoder's tensors; BertModel and its like save them without.
    names: see the module's docstring; a layer is {i} on both sides.
    fused: (our parameters, tensor, its axes with Q for which of them): several of ours in one tensor.
    tied: second name of a tensor -> its first.
    renamed: start of an older tensor's name -> start of the present one.
    architectures: (class, the heads it has), the first taken of which all heads are there.
    tasks: the classes with a task head, whose tensors have names of their own in each.
    keys: our field -> key of config.json; specials: what is not as simple.
    activations: hidden_act -> ours; of two names for one the first is written.
    fixed: our fields that the family has no key for, where they differ from `ModelConfig()`.
    defaults: what transformers takes for a key that is left out, where `ModelConfig()` has something else.
    required: keys that change what is computed -> the only value that is computed here.
    pooler_is_settled: the encoder is published without its pooler as a rule: a file that lacks it has none.
    """

    model_type: str
    prefix: str
    names: Mapping[str, str]
    fused: tuple[tuple[tuple[str, ...], str, str], ...] = ()
    tied: Mapping[str, str]
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    architectures: tuple[tuple[str, frozenset[str]], ...]
    tasks: tuple[TaskClass, ...]
    keys: Mapping[str, str] = dataclasses.field(default_factory=lambda: _KEYS)
    specials: tuple[Special, ...] = ()
    activations: Mapping[str, str] = dataclasses.field(default_factory=lambda: _GELUS)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    required: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _REQUIRED)
    pooler_is_settled: bool = False

    def task(self, head: HeadConfig) -> TaskClass | None:
        """The class for a task head; None where the head has no parameters."""
        form = form_of(head.kind)
        return next((task for task in self.tasks if task.form == form), None)

    def names_with(self, head: HeadConfig) -> Mapping[str, str]:
        """`names`, and those of a task head's modules."""
        task = self.task(head)
        return {**self.names, **task.names} if task else self.names


def _classes(**heads: tuple[str, ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((name.rstrip("_"), frozenset(parts)) for name, parts in heads.items())


def _without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _layers(layer: str, names: Mapping[str, str]) -> dict[str, str]:
    return {LAYER + ours: f"{layer}.{theirs}" for ours, theirs in names.items()}


_BERT_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp_in": "intermediate.dense",
    "mlp_out": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_ALBERT_LAYER = {
    "attention/query": "attention.query",
    "attention/key": "attention.key",
    "attention/value": "attention.value",
    "attention/output": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "mlp_in": "ffn",
    "mlp_out": "ffn_output",
    "mlp_norm": "full_layer_layer_norm",
}
_DISTILBERT_LAYER = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp_in": "ffn.lin1",
    "mlp_out": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
_DEBERTA_LAYER = _without(_BERT_LAYER, "attention/query", "attention/key", "attention/value") | {
    "attention/query/bias": "attention.self.q_bias",
    "attention/value/bias": "attention.self.v_bias",
    "attention/position_key": "attention.self.pos_proj",
    "attention/position_query": "attention.self.pos_q_proj",
}
_DEBERTA_V2_LAYER = _BERT_LAYER | {
    "attention/query": "attention.self.query_proj",
    "attention/key": "attention.self.key_proj",
    "attention/value": "attention.self.value_proj",
    "attention/position_key": "attention.self.pos_key_proj",
    "attention/position_query": "attention.self.pos_query_proj",
}


def _encoder(prefix: str, layer: str, layer_names: Mapping[str, str]) -> dict[str, str]:
    embeddings = f"{prefix}.embeddings"
    return {
        "bert/embeddings/token": f"{embeddings}.word_embeddings.weight",
        "bert/embeddings/position": f"{embeddings}.position_embeddings.weight",
        "bert/embeddings/type": f"{embeddings}.token_type_embeddings.weight",
        "bert/embeddings/norm": f"{embeddings}.LayerNorm",
        **_layers(f"{prefix}.{layer}", layer_names),
    }


def _mlm(dense: str, norm: str, bias: str) -> dict[str, str]:
    return {"mlm_head/dense": dense, "mlm_head/layer_norm": norm, "mlm_head/bias": bias}


_CLS_HEAD = "cls.predictions"
_DEBERTA_HEAD = "lm_predictions.lm_head"
_DEBERTA: dict[str, Any] = {
    "prefix": "deberta",
    "tied": {
        f"{_CLS_HEAD}.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        f"{_CLS_HEAD}.decoder.bias": f"{_DEBERTA_HEAD}.bias",
    },
    "renamed": {  # transformers' name for the head while config.legacy is true
        f"{_CLS_HEAD}.transform.": f"{_DEBERTA_HEAD}.",
        f"{_CLS_HEAD}.bias": f"{_DEBERTA_HEAD}.bias",
    },
    "required": _without(_REQUIRED, "position_embedding_type")
    | {"relative_attention": True, "position_biased_input": False, "talking_head": False},
    "pooler_is_settled": True,
}
_DEBERTA_DEFAULTS = {
    "type_vocab_size": 0, "layer_norm_eps": 1e-7, "relative_attention": False, "position_biased_input": True,
    "max_relative_positions": -1, "pooler_hidden_act": "gelu",
}  # fmt: skip


def _deberta_names(layer_names: Mapping[str, str]) -> dict[str, str]:
    return {
        **_encoder("deberta", "encoder.layer.{i}", layer_names),
        "bert/encoder/relative/table": "deberta.encoder.rel_embeddings.weight",
        "bert/pooler/dense": "pooler.dense",
        **_mlm(f"{_DEBERTA_HEAD}.dense", f"{_DEBERTA_HEAD}.LayerNorm", f"{_DEBERTA_HEAD}.bias"),
    }


def _deberta_tasks(prefix: str) -> tuple[TaskClass, ...]:
    return task_classes(
        prefix, ("cls_dropout", "hidden_dropout_prob"), tagging_dropout=("hidden_dropout_prob",)
    )


# RobertaClassificationHead and ElectraClassificationHead.
_CLASSIFICATION_HEAD: dict[str, Any] = {"dense": "classifier.dense", "output": "classifier.out_proj"}

FAMILIES: dict[str, Family] = {
    "bert": Family(
        model_type="bert",
        prefix="bert",
        names={
            **_encoder("bert", "encoder.layer.{i}", _BERT_LAYER),
            "bert/pooler/dense": "bert.pooler.dense",
            **_mlm(f"{_CLS_HEAD}.transform.dense", f"{_CLS_HEAD}.transform.LayerNorm", f"{_CLS_HEAD}.bias"),
            "pair_head/dense": "cls.seq_relationship",
        },
        tied={
            f"{_CLS_HEAD}.decoder.weight": "bert.embeddings.word_embeddings.weight",
            f"{_CLS_HEAD}.decoder.bias": f"{_CLS_HEAD}.bias",
        },
        architectures=_classes(
            BertForPreTraining=(_POOLER, _MLM, _PAIR),
            BertForMaskedLM=(_MLM,),
            BertForNextSentencePrediction=(_POOLER, _PAIR),
            BertModel=(_POOLER,),
            BertModel_=(),
        ),
        tasks=task_classes("Bert"),
    ),
    "roberta": Family(
        model_type="roberta",
        prefix="roberta",
        names={
            **_encoder("roberta", "encoder.layer.{i}", _BERT_LAYER),
            "bert/pooler/dense": "roberta.pooler.dense",
            **_mlm("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
        },
        tied={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        architectures=_classes(RobertaForMaskedLM=(_MLM,), RobertaModel=(_POOLER,), RobertaModel_=()),
        tasks=task_classes("Roberta", **_CLASSIFICATION_HEAD, hidden="tanh"),
        keys=_without(_KEYS, "max_positions"),
        specials=(POSITIONS_AFTER_PAD,),
        activations={"gelu": "gelu"},  # the head's, whatever hidden_act says
        defaults={"vocab_size": 50265, "max_position_embeddings": 512, "pad_token_id": 1},
        pooler_is_settled=True,
    ),
    "albert": Family(
        model_type="albert",
        prefix="albert",
        names={
            **_encoder("albert", "encoder.albert_layer_groups.{i}.albert_layers.0", _ALBERT_LAYER),
            "bert/embeddings/projection": "albert.encoder.embedding_hidden_mapping_in",
            "bert/pooler/dense": "albert.pooler",
            **_mlm("predictions.dense", "predictions.LayerNorm", "predictions.bias"),
            "pair_head/dense": "sop_classifier.classifier",
        },
        tied={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
        architectures=_classes(
            AlbertForPreTraining=(_POOLER, _MLM, _PAIR),
            AlbertForMaskedLM=(_MLM,),
            AlbertModel=(_POOLER,),
            AlbertModel_=(),
        ),
        tasks=task_classes("Albert", ("classifier_dropout_prob", "hidden_dropout_prob")),
        specials=(LAYER_GROUPS,),
        activations={"gelu_new": "gelu_tanh", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"},
        defaults={
            "vocab_size": 30000,
            "embedding_size": 128,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "num_hidden_groups": 1,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout_prob": 0.1,
        },
        required=_REQUIRED | {"inner_group_num": 1},
    ),
    "electra": Family(
        model_type="electra",
        prefix="electra",
        names={
            **_encoder("electra", "encoder.layer.{i}", _BERT_LAYER),
            "bert/embeddings/projection": "electra.embeddings_project",
            **_mlm(
                "generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias"
            ),
            "rtd_head/dense": "discriminator_predictions.dense",
            "rtd_head/output": "discriminator_predictions.dense_prediction",
        },
        tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
        architectures=_classes(ElectraForPreTraining=(_RTD,), ElectraForMaskedLM=(_MLM,), ElectraModel=()),
        tasks=task_classes("Electra", **_CLASSIFICATION_HEAD, hidden="gelu"),
        specials=(EMBEDDING_WIDTH,),
        activations={"gelu": "gelu"},  # the generator's head's, whatever hidden_act says
        fixed={"pooler": "none"},
        defaults={
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
    ),
    "distilbert": Family(
        model_type="distilbert",
        prefix="distilbert",
        names={
            **_encoder("distilbert", "transformer.layer.{i}", _DISTILBERT_LAYER),
            **_mlm("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
        },
        tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
        architectures=_classes(DistilBertForMaskedLM=(_MLM,), DistilBertModel=()),
        tasks=task_classes(
            "DistilBert",
            ("seq_classif_dropout",),
            dense="pre_classifier",
            hidden="relu",
            tagging_dropout=("dropout",),
            span_dropout=("qa_dropout",),
        ),
        keys=_without(_KEYS, "type_vocab_size", "layer_norm_eps")
        | {
            "hidden_size": "dim",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "mlp_size": "hidden_dim",
            "activation": "activation",
            "dropout_rate": "dropout",
            "attention_dropout_rate": "attention_dropout",
        },
        fixed={"pooler": "none", "type_vocab_size": 0, "layer_norm_eps": 1e-12},
        # sinusoidal_pos_embds says how the position table was first filled; the file has the table.
        defaults={"n_layers": 6, "seq_classif_dropout": 0.2, "qa_dropout": 0.1},
    ),
    "deberta": Family(
        model_type="deberta",
        names=_deberta_names(_DEBERTA_LAYER),
        fused=(
            (
                tuple(f"{LAYER}attention/{name}/kernel" for name in ("query", "key", "value")),
                "deberta.encoder.layer.{i}.attention.self.in_proj.weight",
                "HQK D",
            ),
        ),
        architectures=_classes(DebertaForMaskedLM=(_MLM,), DebertaModel=()),
        tasks=_deberta_tasks("Deberta"),
        specials=(RELATIVE,),
        fixed={"attention": "disentangled", "key_bias": False},
        defaults={"vocab_size": 50265, **_DEBERTA_DEFAULTS},
        **_DEBERTA,
    ),
    "deberta_v2": Family(
        model_type="deberta-v2",
        names={
            **_deberta_names(_DEBERTA_V2_LAYER),
            "bert/encoder/relative/norm": "deberta.encoder.LayerNorm",
            "bert/encoder/convolution": "deberta.encoder.conv.conv",
            "bert/encoder/convolution/norm": "deberta.encoder.conv.LayerNorm",
        },
        architectures=_classes(DebertaV2ForMaskedLM=(_MLM,), DebertaV2Model=()),
        tasks=_deberta_tasks("DebertaV2"),
        specials=(RELATIVE, SECOND_DEBERTA),
        fixed={"attention": "disentangled"},
        defaults={
            **_DEBERTA_DEFAULTS,
            "vocab_size": 128100,
            "hidden_size": 1536,
            "num_hidden_layers": 24,
            "num_attention_heads": 24,
            "intermediate_size": 6144,
            "position_buckets": -1,
            "share_att_key": False,
            "norm_rel_ebd": "none",
            "conv_kernel_size": 0,
            "conv_act": "tanh",
            "conv_groups": 1,
        },
        **_DEBERTA,
    ),
}
"""By `ModelConfig.family`."""
