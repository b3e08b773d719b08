"""Writing a directory that `transformers` loads: weights, config and tokenizer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import save_file

from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.models.presets import ModelConfig
from bert_jax.text import files
from bert_jax.text.tokenizer import Tokenizer


def save_hf(
    folder: str | Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    """Exports `BertForPretraining` for `BertForPreTraining.from_pretrained` and `AutoTokenizer`.

    Writes config.json, model.safetensors (float32; the tied output projection once, as `transformers`
    writes it itself), the tokenizer's files (`Tokenizer.save`) and special_tokens_map.json. The folder
    appears whole or not at all.

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
        files.write_json(partial / "config.json", names.config_to_hf(config, pad_token_id=pad))
        tokenizer.save(partial, max_length=config.max_positions)
        files.write_json(partial / "special_tokens_map.json", files.special_tokens_map(tokenizer.names))
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
