"""The dataclasses of distillation: a student that also learns from a teacher, in pretraining or on a task.

A configuration of distillation is one of pretraining or of fine-tuning with the group `distil`, and its workdir holds
a student that every other command takes for a pretrained or a fine-tuned model.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from bert_jax.config.finetune import FinetuneConfig
from bert_jax.config.options import option
from bert_jax.config.pretrain import PretrainConfig
from bert_jax.config.run import RunConfig

Quirk = Literal["padding", "mean_of_classes"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """The losses, each by its weight (0: it is not computed), and what of the two models they compare.

    Layers are numbered as in the paths of parameters: layer_0 is the first.
    """

    hard: float = option(
        1.0, "weight of the student's own loss: masked tokens and sentence pairs, or the gold labels", ge=0
    )
    soft: float = option(
        0.0,
        "weight of KL(teacher || student) of the predictions at distil.temperature, times its square (Hinton et al. 2015,"
        " section 2); of numbers the squared error, of vectors distil.embedding",
        ge=0,
    )
    temperature: float = option(2.0, "soft: both models' logits are divided by this", gt=0)
    soft_at: Literal["masked", "all"] = option(
        "masked",
        "soft, in pretraining: at the masked tokens, or at every token (DistilBERT), which costs the MLM head there",
    )
    embedding: Literal["cosine", "mse"] = option(
        "cosine", "soft, for similarity: 1 - cosine of the two vectors, or their mean squared difference"
    )
    hidden_cosine: float = option(
        0.0, "weight of 1 - cosine of the last hidden states (DistilBERT); equal widths", ge=0
    )
    hidden_mse: float = option(
        0.0,
        "weight of the squared error of hidden states, embeddings and distil.layer_map, through one learned projection"
        " (TinyBERT, eq. 8 and 9)",
        ge=0,
    )
    attention_mse: float = option(
        0.0,
        "weight of the squared error of attention scores before the softmax at distil.layer_map (TinyBERT, eq. 7); equal"
        " heads",
        ge=0,
    )
    attention_kl: float = option(
        0.0,
        "weight of KL(teacher || student) of the attention distributions of the student's last layer and"
        " distil.relation_layer (MiniLM, eq. 4); equal heads",
        ge=0,
    )
    query_relation: float = option(
        0.0,
        "weight of KL(teacher || student) of softmax(Q Q^T / sqrt(width of a relation head)) of the same layers (MiniLMv2,"
        " eq. 4 to 6); any widths and heads",
        ge=0,
    )
    key_relation: float = option(0.0, "the same of the keys", ge=0)
    value_relation: float = option(0.0, "the same of the values (also MiniLM, eq. 6 and 7)", ge=0)
    relation_heads: int = option(
        0,
        "heads that queries, keys and values are cut into anew for relations (MiniLMv2: 48 for a base, 64 for a large"
        " teacher); 0: the teacher's",
        ge=0,
    )
    relation_layer: int | None = option(
        None,
        "layer of the teacher that attention_kl and relations read; None: the last (MiniLMv2: 20 of BERT-large's 24)",
        ge=0,
    )
    layer_map: tuple[int, ...] = option(
        (),
        "the teacher's layer for each of the student's, for hidden_mse and attention_mse; empty: the last of each block"
        " of equal length",
    )
    student_layers: tuple[int, ...] = option(
        (),
        "the student begins with these layers of the teacher, its embeddings and heads (DistilBERT: 0,2,4,7,9,11); empty:"
        " with --init, or fresh",
    )
    teacher_dtype: Literal["float32", "bfloat16"] = option(
        "float32", "type of the teacher's parameters and computation"
    )
    cache: bool = option(
        False,
        "keep the teacher's outputs on disk and read them there, so that what is kept once is not computed again, by this"
        " run or by another student's of the same rows: in pretraining by step, of labelled data by example",
    )
    cache_top: int = option(
        64,
        "cache, soft, in pretraining: largest logits kept of each prediction; the teacher's probabilities are their softmax"
        " alone",
        gt=0,
    )
    cache_type: Literal["float16", "float32"] = option("float16", "cache: type of what is kept")
    cache_gigabytes: float = option(
        50.0, "cache: what a run may fill, in 10^9 bytes; what is beyond is computed and not kept", gt=0
    )
    cache_directory: str = option(
        "", "cache: holds the folder teachers/; empty: $BERT_JAX_DATA, else ~/.cache/bert_jax"
    )
    quirks: tuple[Quirk, ...] = option(
        (),
        "what TinyBERT's released code does and the paper does not say: padding: squared errors are means over padding"
        " too; mean_of_classes: the soft cross-entropy is divided by the number of classes",
    )


LOSSES = (
    "soft", "hidden_cosine", "hidden_mse", "attention_mse", "attention_kl", "query_relation", "key_relation",
    "value_relation",
)  # fmt: skip
"""The weights of the losses that need a teacher."""
RELATIONS = ("query_relation", "key_relation", "value_relation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilRun(RunConfig):
    """What both kinds of distillation have besides what they are trained on."""

    distil: DistilConfig = DistilConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilPretrainConfig(PretrainConfig, DistilRun):
    """Distillation on a prepared corpus; the student is config.model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilFinetuneConfig(FinetuneConfig, DistilRun):
    """Distillation on labelled data; the student is that of --init, or cut from the teacher."""
