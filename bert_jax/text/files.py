"""The files of a tokenizer as `transformers` reads them: writing, and the roles of special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from bert_jax import atomic
from bert_jax.text import classes, kinds, vocabulary_files
from bert_jax.text.classes import TokenizerClass


def roles(entries: Mapping[str, int], declared: Mapping[str, str]) -> dict[str, str]:
    """Role -> token, as declared or else by the usual names; roles without an entry are left out."""
    found = {}
    for role, names in kinds.NAMES.items():
        candidates = [declared[role], *names] if role in declared else names
        token = next((token for token in candidates if token in entries), None)
        if token is not None:
            found[role] = token
    return found


# ---------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------


def write(
    folder: Path, backend: tokenizers.Tokenizer, names: Mapping[str, str], *, max_length: int | None
) -> None:
    """Writes tokenizer.json, tokenizer_config.json, and the older form of the kinds that have one."""
    text = backend.to_str(pretty=True)
    atomic.write_text(folder / "tokenizer.json", text + "\n")
    settings = _settings(backend, names)
    if max_length is not None:
        settings["model_max_length"] = max_length
    write_json(folder / "tokenizer_config.json", settings)
    entries = backend.get_vocab(with_added_tokens=False)
    if isinstance(backend.model, models.WordPiece):
        lines = sorted(vocabulary_files.without_gaps(entries).items(), key=lambda item: item[1])
        atomic.write_text(folder / "vocab.txt", "".join(f"{token}\n" for token, _ in lines))
    elif isinstance(backend.model, models.BPE):
        merges = "".join(f"{a} {b}\n" for a, b in json.loads(text)["model"]["merges"])
        entries = dict(sorted(entries.items(), key=lambda item: item[1]))
        atomic.write_text(folder / "vocab.json", json.dumps(entries, ensure_ascii=False) + "\n")
        atomic.write_text(folder / "merges.txt", "#version: 0.2\n" + merges)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")


def special_tokens_map(names: Mapping[str, str]) -> dict[str, str]:
    """The content of special_tokens_map.json, which older versions of `transformers` read."""
    return {f"{role}_token": token for role, token in names.items()}


def _settings(backend: tokenizers.Tokenizer, names: Mapping[str, str]) -> dict[str, Any]:
    """The content of tokenizer_config.json.

    `transformers` 5 builds a BertTokenizer or a RobertaTokenizer from its vocabulary and these settings, whatever
    else tokenizer.json says; its generic class uses tokenizer.json unchanged. So a tokenizer gets the class that would
    build it again in every part, or the generic one.
    """
    added = sorted(backend.get_added_tokens_decoder().items())
    settings: dict[str, Any] = special_tokens_map(names)
    if others := [
        token.content for _, token in added if token.special and token.content not in names.values()
    ]:
        settings["additional_special_tokens"] = others
    flags = ("content", "lstrip", "rstrip", "normalized", "single_word", "special")
    settings["added_tokens_decoder"] = {
        str(index): {flag: getattr(token, flag) for flag in flags} for index, token in added
    }
    raw = json.loads(backend.to_str())
    for known, own in ((classes.BERT, {}), (classes.ROBERTA, {"bos": names["cls"], "eos": names["sep"]})):
        if _class_gives(known, backend, raw, {**own, **names}):
            named = special_tokens_map(own)
            return {**settings, **named, "tokenizer_class": known.name, **known.stated(raw)}
    inputs = ["input_ids", "attention_mask"]
    if not isinstance(backend.model, models.BPE):
        inputs.insert(1, "token_type_ids")
    return {**settings, "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}


def _class_gives(
    known: TokenizerClass, backend: tokenizers.Tokenizer, raw: Mapping[str, Any], names: Mapping[str, str]
) -> bool:
    """Whether the class, with the options that are in `raw`, builds this tokenizer."""
    vocabulary = vocabulary_files.from_json(Path("tokenizer.json"), raw, None)
    if vocabulary.model != known.model:
        return False
    try:
        options = known.stated(raw)
    except ValueError:
        return False
    again = known.build(vocabulary, options, names)
    again.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
    known.frame(again, vocabulary, options, names)
    theirs = json.loads(again.to_str())
    return all(theirs[part] == raw[part] for part in raw if part not in ("padding", "truncation"))
