"""From raw text to a prepared corpus: vocabulary, token shards, manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax.config import Config
from bert_jax.data.corpus import Document, Source, open_source
from bert_jax.data.shards import ShardWriter, TokenShards
from bert_jax.errors import UserError
from bert_jax.text import sentences, tokenizer

_SENTENCES_PER_BATCH = 20_000  # encoded together, over all cores


def data_root(config: Config) -> Path:
    """The folder of all prepared corpora: `data.directory`, else $BERT_JAX_DATA, else ~/.cache/bert_jax."""
    return Path(config.data.directory or os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax").expanduser()


def corpus_folder(config: Config) -> Path:
    """The folder of this config's corpus, named by everything that decides its tokens."""
    data, vocabulary = config.data, config.tokenizer
    text = (data.source, data.path, data.split, data.tfds_dir, data.text_field, data.sentences)
    key = json.dumps([text, dataclasses.asdict(vocabulary)])
    return data_root(config) / f"{data.source}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def open_corpus(config: Config, *, experiment: str = "X") -> TokenShards:
    """The prepared corpus of `config`.

    Raises:
      UserError: it is not there, is damaged, or its text files were edited since.
    """
    folder = corpus_folder(config)
    if not (folder / "manifest.json").is_file():
        raise UserError(f"no prepared corpus at {folder}: run `bert-jax prepare --config {experiment}` first")
    shards = TokenShards.open(folder)
    for name, size, mtime_ns in shards.manifest["text"].get("files", []):
        path = Path(name)
        if not path.is_file():
            continue  # a machine that only trains need not have the text
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (size, mtime_ns):
            raise UserError(
                f"{path} was changed after it was prepared ({size} bytes then, {now.st_size} now):"
                f" run `bert-jax prepare --config {experiment}` again"
            )
    return shards


def prepare(config: Config) -> tuple[TokenShards, bool]:
    """Prepares the corpus of `config`, or finds it prepared: (corpus, whether it was made now).

    Everything is written to a folder beside the final one, which it becomes by one rename: a run that
    is killed leaves nothing that a later one would trust.

    Raises:
      UserError: no text, unreadable text, or a vocabulary that does not fit.
    """
    folder = corpus_folder(config)
    source = open_source(config.data, cache_dir=data_root(config))
    identity = source.identity()  # before reading: text that changes meanwhile counts as changed
    if config.tokenizer.path:
        vocabulary = Path(config.tokenizer.path)
        checksum = hashlib.sha256(vocabulary.read_bytes()).hexdigest() if vocabulary.is_file() else None
        identity = identity | {"vocabulary": checksum}
    found = _find(folder, identity)
    if found:
        return found, False
    for stale in folder.parent.glob(f"{folder.name}.partial-*"):
        pid = int(stale.name.rpartition("-")[2])
        if pid == os.getpid() or not _is_running(pid):  # ours, left by an earlier process of this number
            shutil.rmtree(stale)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        _write(config, source, identity, partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:  # numpy's carry neither the path nor, for a full disk, an errno
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}; make room there, or set config.data.directory"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return TokenShards.open(folder), True


def _find(folder: Path, identity: dict[str, Any]) -> TokenShards | None:
    """The corpus in `folder`, if it is of this text and whole; one that is damaged is to be made again."""
    try:
        shards = TokenShards.open(folder)
        if shards.manifest["text"] != identity:
            return None
        shards.verify()
    except UserError:
        return None
    return shards


def _write(config: Config, source: Source, identity: dict[str, Any], folder: Path) -> None:
    split = _split_lines if config.data.sentences == "line" else _split_sentences
    if config.tokenizer.path:
        vocabulary = tokenizer.load(config.tokenizer.path, lowercase=config.tokenizer.lowercase)
        if vocabulary.vocab_size != config.tokenizer.vocab_size:
            raise UserError(
                f"config.tokenizer.vocab_size={config.tokenizer.vocab_size} must equal the size of"
                f" {config.tokenizer.path}: {vocabulary.vocab_size}"
            )
    else:
        vocabulary = tokenizer.train(_Lines(source), config.tokenizer)
    vocabulary.save(folder)
    writer = ShardWriter(folder, vocab_size=vocabulary.vocab_size)
    unused = sum(token.startswith("[unused") for token in vocabulary.backend.get_vocab())
    counts = {"characters": 0, "unknown": 0, "empty_documents": 0, "unused_entries": unused}
    for document, ids in _encoded(source, vocabulary, split):
        counts["characters"] += sum(map(len, document.lines))
        counts["unknown"] += sum(sentence.count(vocabulary.special.unk) for sentence in ids)
        counts["empty_documents"] += not any(ids)
        writer.add(ids)
    manifest = writer.finish(
        text=identity,
        vocab_size=vocabulary.vocab_size,
        special_ids=dataclasses.asdict(vocabulary.special),
        counts=counts,
    )
    if not manifest["tokens"]:
        raise UserError(
            f"the text of config.data.path={config.data.path!r} has no token: {counts['characters']} characters,"
            " all of them invisible"
        )


@dataclasses.dataclass(frozen=True)
class _Lines:
    """The lines of a source, to be read more than once."""

    source: Source

    def __iter__(self) -> Iterator[str]:
        return (line for document in self.source.documents() for line in document.lines)


def _encoded(
    source: Source, vocabulary: tokenizer.Tokenizer, split: Any
) -> Iterator[tuple[Document, list[list[int]]]]:
    """Each document with the ids of its sentences; encodes many documents at a time."""
    batch: list[tuple[Document, list[str]]] = []
    pending = 0

    def encoded() -> Iterator[tuple[Document, list[list[int]]]]:
        ids = iter(vocabulary.encode_batch([s for _, document in batch for s in document]))
        for document, texts in batch:
            yield document, [next(ids) for _ in texts]

    for document in source.documents():
        texts = split(document)
        batch.append((document, texts))
        pending += len(texts)
        if pending >= _SENTENCES_PER_BATCH:
            yield from encoded()
            batch, pending = [], 0
    yield from encoded()


def _split_lines(document: Document) -> list[str]:
    return list(document.lines)


def _split_sentences(document: Document) -> list[str]:
    return [sentence for line in document.lines for sentence in sentences.split(line)]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
