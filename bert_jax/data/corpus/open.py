"""Opening a prepared corpus: where it lies, and whether it is the one that a configuration describes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax import hub
from bert_jax.config import PretrainConfig
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.sources.entries import TFDS_PREFIX, absolute, is_remote, is_tfds
from bert_jax.errors import UserError


def data_root(config: PretrainConfig) -> Path:
    """The folder of all prepared corpora: `data.directory`, else $BERT_JAX_DATA, else ~/.cache/bert_jax."""
    return Path(config.data.directory or os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax").expanduser()


def corpus_folder(config: PretrainConfig) -> Path:
    """The folder of this config's corpus, named by its first source and by a hash of `deciding_values`."""
    key = json.dumps(deciding_values(config))
    first = config.data.sources()[0]
    name = first if is_tfds(first) else Path(first).name.partition(".")[0]
    readable = re.sub(r"\W+", "_", name.removeprefix(TFDS_PREFIX)).strip("_")[:40]
    return data_root(config) / f"{readable or 'text'}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def open_corpus(config: PretrainConfig, *, experiment: str = "X") -> TokenShards:
    """The prepared corpus of `config`; `experiment` is what follows `--config` in the command of a message.

    Raises:
      UserError: it is missing, damaged or of another config, or its text or vocabulary has changed since.
    """
    folder = corpus_folder(config)
    command = f"run `bert-jax prepare --config {experiment}`"
    if not (folder / "manifest.json").is_file():
        raise UserError(f"no prepared corpus at {folder}: {command} first")
    shards = TokenShards.open(folder)
    for key, expected in deciding_values(config).items():
        found = shards.manifest["config"].get(key)
        if found != expected:
            raise UserError(f"{folder}/manifest.json: {key}={found!r} must be {expected!r}; {command} again")
    if shards.vocab_size != config.tokenizer.vocab_size:
        raise UserError(
            f"{folder}/manifest.json: a vocabulary of {shards.vocab_size} entries, config.tokenizer.vocab_size="
            f"{config.tokenizer.vocab_size}; {command} again"
        )
    shards.verify_vocabulary()
    _check_unchanged(shards.manifest["text"], config, command)
    shards.hold()
    return shards


def deciding_values(config: PretrainConfig) -> dict[str, Any]:
    """Every value that decides the tokens, by its name in the config. Local paths are absolute; ids of the hub stay."""
    data = config.data
    values = {
        "data.path": [absolute(entry) for entry in data.sources()],
        "data.tfds_dir": absolute(data.tfds_dir) if data.tfds_dir else "",
        "data.text_field": data.text_field,
        "data.sentences": data.sentences,
    }
    vocabulary = dataclasses.asdict(config.tokenizer)
    if vocabulary["path"] and not isinstance(hub.parse(vocabulary["path"]), hub.ModelId):
        vocabulary["path"] = absolute(vocabulary["path"])
    for group, fields in (("cleaning", dataclasses.asdict(config.cleaning)), ("tokenizer", vocabulary)):
        values |= {f"{group}.{name}": value for name, value in fields.items()}
    return values


def vocabulary_checksum(path: Path | None) -> str | None:
    """Of the files of the loaded tokenizer; None if it is trained, or the files are missing."""
    if path is None or not path.exists():
        return None
    folder = path if path.is_dir() else path.parent
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")
    said = ("special_tokens_map.json", "added_tokens.json", "tokenizer_config.json")
    beside = {folder / name for name in (*names, *said)}
    files = {*beside, *folder.glob("*.model")} if path.is_dir() else {*beside, path}
    checksum = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        checksum.update(file.name.encode() + b"\0" + file.read_bytes())
    return checksum.hexdigest()


def _check_unchanged(text: Mapping[str, Any], config: PretrainConfig, command: str) -> None:
    """Compares the text and the vocabulary with what the manifest says; a machine that only trains may lack both."""
    for source in text["sources"]:
        for path, size, changed in source.get("files", []):
            if is_remote(path) or not os.path.isfile(path):
                continue
            now = os.stat(path)
            if (now.st_size, now.st_mtime_ns) != (size, changed):
                raise UserError(
                    f"{path} was changed after it was prepared ({size} bytes then, {now.st_size} now):"
                    f" {command} again"
                )
    if text["vocabulary"] is None:
        return
    found = vocabulary_checksum(hub.cached(config.tokenizer.path, tokenizer_only=True))
    if found is not None and found != text["vocabulary"]:
        raise UserError(
            f"{config.tokenizer.path} was changed after the corpus was prepared with it: {command} again"
        )
