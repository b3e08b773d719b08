"""The files of a tokenizer: reads the usual forms, and writes what `transformers` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from bert_jax.errors import UserError
from bert_jax.text import kinds, sentencepiece_model

_EXPECTED = "expected a tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece .model"


def read(path: Path, *, lowercase: bool) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The tokenizer in a file, or in the best file of a folder, and its special tokens as the files beside it say.

    lowercase: for vocab.txt and for vocab.json with merges.txt, which do not contain it.

    Raises:
      UserError: there is no such file, or it cannot be read.
    """
    file = _choose(path)
    try:
        if file.suffix == ".model":
            backend = sentencepiece_model.read(file)
        elif file.name in ("vocab.json", "merges.txt"):
            backend = _read_bpe(file.parent, lowercase)
        elif file.suffix == ".json":
            backend = _read_json(file)
        else:
            backend = _read_vocab_txt(file, lowercase)
        return backend, _declared(file.parent)
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file}: not a vocabulary that can be read: {_one_line(error)}") from error


def has_tokenizer(folder: Path) -> bool:
    """Whether `read` finds a tokenizer in the folder."""
    return _in_folder(folder) is not None


def _in_folder(folder: Path) -> Path | None:
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder / "vocab.json"
    if (folder / "vocab.txt").is_file():
        return folder / "vocab.txt"
    found = sorted(folder.glob("*.model"))
    return found[0] if len(found) == 1 else None


def _choose(path: Path) -> Path:
    file = _in_folder(path) if path.is_dir() else path
    if file is None or not file.is_file():
        raise UserError(f"no vocabulary at {path}: {_EXPECTED}")
    return file


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read_vocab_txt(path: Path, lowercase: bool) -> tokenizers.Tokenizer:
    tokens = path.read_text(encoding="utf-8").split("\n")
    tokens = tokens[:-1] if tokens[-1] == "" else tokens
    entries = {token: i for i, token in enumerate(tokens)}
    if len(tokens) != len(entries):
        raise UserError(
            f"{path}: {len(tokens)} lines but {len(entries)} distinct tokens; remove the repeated lines"
        )
    return kinds.wordpiece(entries, lowercase=lowercase)


def _read_bpe(folder: Path, lowercase: bool) -> tokenizers.Tokenizer:
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: vocab.json and merges.txt belong together, and {name} is missing; add it"
            )
    entries, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return kinds.bpe(entries, merges, lowercase=lowercase)


def _read_json(path: Path) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_file(str(path))
    backend.no_padding()
    backend.no_truncation()
    return backend


# ---------------------------------------------------------------------------------------------
# Roles
# ---------------------------------------------------------------------------------------------


def roles(entries: Mapping[str, int], declared: Mapping[str, str]) -> dict[str, str]:
    """Role -> token, as declared or else by the usual names; roles without an entry are left out."""
    found = {}
    for role, names in kinds.NAMES.items():
        candidates = [declared[role], *names] if role in declared else names
        token = next((token for token in candidates if token in entries), None)
        if token is not None:
            found[role] = token
    return found


def _declared(folder: Path) -> dict[str, str]:
    """Role -> token, as special_tokens_map.json and tokenizer_config.json say, where they exist."""
    found = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}): download or export it again") from error
        for role in kinds.NAMES if isinstance(raw, dict) else ():
            token = raw.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
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
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    settings = _settings(backend, names)
    if max_length is not None:
        settings["model_max_length"] = max_length
    write_json(folder / "tokenizer_config.json", settings)
    if isinstance(backend.model, models.WordPiece):
        by_id = sorted(backend.get_vocab().items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")
    elif isinstance(backend.model, models.BPE):
        merges = "".join(f"{a} {b}\n" for a, b in json.loads(text)["model"]["merges"])
        entries = dict(sorted(backend.get_vocab().items(), key=lambda item: item[1]))
        (folder / "vocab.json").write_text(json.dumps(entries, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def special_tokens_map(names: Mapping[str, str]) -> dict[str, str]:
    """The content of special_tokens_map.json, which older versions of `transformers` read."""
    return {f"{role}_token": token for role, token in names.items()}


def _settings(backend: tokenizers.Tokenizer, names: Mapping[str, str]) -> dict[str, Any]:
    """The content of tokenizer_config.json.

    `transformers` 5 rebuilds a BertTokenizer or a RobertaTokenizer from its vocabulary and these settings, whatever
    else tokenizer.json says; its generic class uses tokenizer.json unchanged. So only a tokenizer that is BERT's or
    RoBERTa's in every part gets that class.
    """
    shared = special_tokens_map(names)
    normalizer, splitting = backend.normalizer, backend.pre_tokenizer
    if (
        isinstance(backend.model, models.WordPiece)
        and isinstance(normalizer, normalizers.BertNormalizer)
        and normalizer.clean_text
        and isinstance(splitting, pre_tokenizers.BertPreTokenizer)
    ):
        return {
            **shared,
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
    inputs = ["input_ids", "attention_mask"]
    if (
        isinstance(backend.model, models.BPE)
        and normalizer is None
        and isinstance(splitting, pre_tokenizers.ByteLevel)
        and isinstance(backend.post_processor, processors.RobertaProcessing)
        and {role: names[role] for role in kinds.NAMES} == kinds.SPECIAL["bpe"]
    ):
        settings = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": splitting.add_prefix_space}
        return {**shared, **settings, "bos_token": names["cls"], "eos_token": names["sep"]}
    if not isinstance(backend.model, models.BPE):
        inputs.insert(1, "token_type_ids")
    return {**shared, "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
