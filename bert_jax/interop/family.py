"""What an entry of the table of families says, and what several entries share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bert_jax.config.head import HeadConfig
from bert_jax.interop.config_fields import Special
from bert_jax.interop.task_classes import TaskClass, form_of
from bert_jax.models.parameters import LAYER

POOLER, MLM, PAIR, RTD = "bert/pooler", "mlm_head", "pair_head", "rtd_head"

# Our field -> config.json's key.
KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "norm.eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
}

# Keys that change what is computed, and the only value under which we compute the same.
REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}

GELUS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A family of Hugging Face's models.

    model_type: in config.json.
    prefix: of the encoder's tensors; BertModel and its like save them without.
    names: our module -> its module, to whose name ".weight" or ".bias" is added, or our parameter -> the tensor's whole
      name; a layer is {i} on both sides.
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
    keys: Mapping[str, str] = dataclasses.field(default_factory=lambda: KEYS)
    specials: tuple[Special, ...] = ()
    activations: Mapping[str, str] = dataclasses.field(default_factory=lambda: GELUS)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    required: Mapping[str, Any] = dataclasses.field(default_factory=lambda: REQUIRED)
    pooler_is_settled: bool = False

    def task(self, head: HeadConfig) -> TaskClass | None:
        """The class for a task head; None where the head has no parameters."""
        form = form_of(head.kind)
        return next((task for task in self.tasks if task.form == form), None)

    def names_with(self, head: HeadConfig) -> Mapping[str, str]:
        """`names`, and those of a task head's modules."""
        task = self.task(head)
        if task is None:
            return self.names
        taken = set(task.names.values())  # a task's head may be the start of the MLM head
        return {ours: theirs for ours, theirs in self.names.items() if theirs not in taken} | dict(task.names)


def classes(**heads: tuple[str, ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((name.rstrip("_"), frozenset(parts)) for name, parts in heads.items())


def without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def layers(layer: str, names: Mapping[str, str]) -> dict[str, str]:
    return {LAYER + ours: f"{layer}.{theirs}" for ours, theirs in names.items()}
