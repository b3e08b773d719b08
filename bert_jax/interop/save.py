"""Writing a directory that `transformers` loads: weights, config and tokenizer."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from bert_jax.atomic import export_folder
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop import names, sentence_transformers, weights
from bert_jax.interop.config_json import config_to_hf
from bert_jax.interop.families import FAMILIES
from bert_jax.text import files
from bert_jax.text.tokenizer import Tokenizer

_POOLER = "bert/pooler"


@dataclasses.dataclass(frozen=True)
class SaveReport:
    """What an export became.

    architecture: the class of `transformers` that config.json names.
    poolerless: the class has a pooler that the files lack, unless it is told add_pooling_layer=False.
    left: our heads that the class has no place for; they are not in the files.
    repeated: our parameters that several layers share and the files hold once a layer.
    ignored: our parameters that the files hold and `transformers` passes over: the positions that only the
      enhanced mask decoder reads, which it never had.
    """

    architecture: str
    poolerless: bool = False
    left: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def save_hf(
    folder: str | Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer
) -> SaveReport:
    """Exports for `from_pretrained` of the class of the config's family that has the heads which are there,
    and for `AutoTokenizer`. A task head decides the class alone, whatever other heads there are; one of kind
    "embedding" is the bare encoder and what `SentenceTransformer` reads besides.

    Writes config.json, model.safetensors (float32; the tied output projection once, as `transformers`
    writes it itself), the tokenizer's files (`Tokenizer.save`) and special_tokens_map.json. The folder
    appears whole or not at all. An encoder without pooler is a model for
    `from_pretrained(..., add_pooling_layer=False)`, where its class has one.

    Args:
      folder: must not exist, or be empty.
      params: the nested parameters, as training holds them (any leading type of array).
      config: the model they belong to.
      tokenizer: the vocabulary it was trained on.

    Raises:
      UserError: the folder is taken or cannot be written; parameters, config and vocabulary disagree; the
        config computes what no model of its family does, or has a head that its class does not.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} entries, the model vocab_size={config.vocab_size}:"
            " export with the tokenizer the model was trained with"
        )
    architecture, heads = _architecture(params, config)
    pad = tokenizer.special.pad
    raw = config_to_hf(config, pad_token_id=pad, architecture=architecture)
    pooler = raw.get("pooler_hidden_act", "tanh")  # the families without the key have no other
    if _POOLER in heads and config.pooler != pooler:
        raise UserError(
            f"model.pooler={config.pooler!r} must be {pooler!r} to be exported as {config.family!r}, whose"
            f" {architecture} has no other: train with that, or choose another model.family"
        )
    tensors = names.to_hf(params, config, heads=heads)
    with export_folder(Path(folder), faults=(SafetensorError,)) as partial:
        weights.save(tensors, partial / "model.safetensors", {"format": "pt"})
        files.write_json(partial / "config.json", raw)
        tokenizer.save(partial, max_length=config.max_positions)
        _without_types(partial / "tokenizer_config.json", config)
        files.write_json(partial / "special_tokens_map.json", files.special_tokens_map(tokenizer.names))
        if config.head.kind == "embedding":
            sentence_transformers.write(partial, config)
    held = collections.Counter(
        path for entry in names.table(config) if entry.theirs in tensors for path in entry.ours
    )
    return SaveReport(
        architecture,
        poolerless=_POOLER not in heads
        and (architecture, heads | {_POOLER}) in FAMILIES[config.family].architectures,
        left=tuple(head for head in names.heads_in(params) if head not in heads),
        repeated=tuple(path for path, count in held.items() if count > 1),
        ignored=("bert/embeddings/position",) if config.relative.mask_decoder else (),
    )


def _without_types(path: Path, config: ModelConfig) -> None:
    """Keeps `transformers`' tokenizer from giving types to a model that has no second one to look up."""
    if config.type_vocab_size < 2:
        settings = json.loads(path.read_text(encoding="utf-8"))
        files.write_json(path, settings | {"model_input_names": ["input_ids", "attention_mask"]})


def _architecture(params: Mapping[str, Any], config: ModelConfig) -> tuple[str, frozenset[str]]:
    """The class to name, and its heads: that of the task head, or the family's first whose heads `params` all has."""
    present, family = names.heads_in(params), FAMILIES[config.family]
    task = family.task(config.head)
    if task:
        return task.name, task.heads
    if config.head.kind == "embedding":
        present = tuple(head for head in present if head == _POOLER)
    return next(known for known in family.architectures if known[1] <= set(present))
