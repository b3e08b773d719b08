"""Writing a directory that `transformers` loads: weights, config and tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from safetensors import SafetensorError
from safetensors.numpy import save_file

from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.models.presets import ModelConfig
from bert_jax.text.tokenizer import SPECIAL_TOKENS, Tokenizer


def save_hf(
    folder: str | Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    """Exports `BertForPretraining` for `BertForPreTraining.from_pretrained` and `AutoTokenizer`.

    Writes config.json, model.safetensors (float32; the tied output projection once, as `transformers`
    writes it itself), tokenizer.json, vocab.txt, tokenizer_config.json and special_tokens_map.json. The
    folder appears whole or not at all.

    Args:
      folder: must not exist, or be empty.
      params: the nested parameters, as training holds them (any leading type of array).
      config: the model they belong to.
      tokenizer: the vocabulary it was trained on.

    Raises:
      UserError: the folder is taken or cannot be written; parameters, config and vocabulary disagree.
    """
    folder = Path(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} entries, the model vocab_size={config.vocab_size}:"
            " export with the tokenizer the model was trained with"
        )
    tensors = names.to_hf(params, config)
    _check_free(folder)
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        pad = tokenizer.special.pad
        _write_json(partial / "config.json", names.config_to_hf(config, pad_token_id=pad))
        tokenizer.save(partial)
        _write_json(partial / "tokenizer_config.json", _tokenizer_settings(tokenizer, config.max_positions))
        _write_json(partial / "special_tokens_map.json", _SPECIAL_TOKENS_MAP)
        os.rename(partial, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: cannot be written ({reason}): name another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_free(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; an export needs a new or an empty folder: name another one")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; an export needs a new or an empty folder: name another one")


_SPECIAL_TOKENS_MAP = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS}


def _tokenizer_settings(tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    """tokenizer_config.json.

    `transformers` 5 rebuilds a BertTokenizer from its vocabulary and these settings, whatever the
    normaliser in tokenizer.json is; its generic class takes tokenizer.json as it stands. So only a
    tokenizer that is BERT's in every part goes under BERT's name.
    """
    shared: dict[str, Any] = {"model_max_length": max_length, **_SPECIAL_TOKENS_MAP}
    backend = tokenizer.backend
    normalizer = backend.normalizer
    if (
        isinstance(normalizer, tokenizers.normalizers.BertNormalizer)
        and normalizer.clean_text
        and isinstance(backend.pre_tokenizer, tokenizers.pre_tokenizers.BertPreTokenizer)
        and isinstance(backend.model, tokenizers.models.WordPiece)
    ):
        return shared | {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return shared | {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
