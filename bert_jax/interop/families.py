"""The families that Hugging Face names: one entry each, of tensor names, config.json and model classes.

`family` says what an entry holds; those of the last years' families are in `modern`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_jax.interop.config_fields import (
    EMBEDDING_WIDTH,
    LAYER_GROUPS,
    POSITIONS_AFTER_PAD,
    RELATIVE,
    SECOND_DEBERTA,
)
from bert_jax.interop.family import KEYS, MLM, PAIR, POOLER, REQUIRED, RTD, Family, classes, layers, without
from bert_jax.interop.modern import MODERNBERT, NEOBERT
from bert_jax.interop.task_classes import TaskClass, task_classes
from bert_jax.models.parameters import LAYER

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
_DEBERTA_LAYER = without(_BERT_LAYER, "attention/query", "attention/key", "attention/value") | {
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
        **layers(f"{prefix}.{layer}", layer_names),
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
    "required": without(REQUIRED, "position_embedding_type")
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
        architectures=classes(
            BertForPreTraining=(POOLER, MLM, PAIR),
            BertForMaskedLM=(MLM,),
            BertForNextSentencePrediction=(POOLER, PAIR),
            BertModel=(POOLER,),
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
        architectures=classes(RobertaForMaskedLM=(MLM,), RobertaModel=(POOLER,), RobertaModel_=()),
        tasks=task_classes("Roberta", **_CLASSIFICATION_HEAD, hidden="tanh"),
        keys=without(KEYS, "max_positions"),
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
        architectures=classes(
            AlbertForPreTraining=(POOLER, MLM, PAIR),
            AlbertForMaskedLM=(MLM,),
            AlbertModel=(POOLER,),
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
        required=REQUIRED | {"inner_group_num": 1},
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
        architectures=classes(ElectraForPreTraining=(RTD,), ElectraForMaskedLM=(MLM,), ElectraModel=()),
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
        architectures=classes(DistilBertForMaskedLM=(MLM,), DistilBertModel=()),
        tasks=task_classes(
            "DistilBert",
            ("seq_classif_dropout",),
            dense="pre_classifier",
            hidden="relu",
            tagging_dropout=("dropout",),
            span_dropout=("qa_dropout",),
        ),
        keys=without(KEYS, "type_vocab_size", "norm.eps")
        | {
            "hidden_size": "dim",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "mlp_size": "hidden_dim",
            "activation": "activation",
            "dropout_rate": "dropout",
            "attention_dropout_rate": "attention_dropout",
        },
        fixed={"pooler": "none", "type_vocab_size": 0, "norm.eps": 1e-12},
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
        architectures=classes(DebertaForMaskedLM=(MLM,), DebertaModel=()),
        tasks=_deberta_tasks("Deberta"),
        specials=(RELATIVE,),
        fixed={"positions": "disentangled", "relative.key_bias": False},
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
        architectures=classes(DebertaV2ForMaskedLM=(MLM,), DebertaV2Model=()),
        tasks=_deberta_tasks("DebertaV2"),
        specials=(RELATIVE, SECOND_DEBERTA),
        fixed={"positions": "disentangled"},
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
    "modernbert": MODERNBERT,
    "neobert": NEOBERT,
}
"""By `ModelConfig.family`."""
