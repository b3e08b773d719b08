"""Token shards: a corpus as ids, with its sentence and document boundaries, memory-mapped.

    tokens-00000.npy     ids of the shard's sentences, end to end (uint16, or uint32 for a large vocabulary)
    sentences-00000.npy  tokens in each sentence (uint32)
    documents-00000.npy  sentences in each document (uint32)
    manifest.json        counts, checksums, vocabulary, where the text came from; written last

A folder without a manifest is not a corpus. Positions are global: shard after shard.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SpecialIds

FORMAT = 1
_PARTS = ("tokens", "sentences", "documents")
_SHARD_TOKENS = 64 * 2**20
"""Tokens after which a shard is closed: 128 MiB of uint16."""


class ShardWriter:
    """Collects documents and writes them as shards into a folder."""

    def __init__(self, folder: Path, *, vocab_size: int, shard_tokens: int = _SHARD_TOKENS):
        self._folder = folder
        self._dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
        self._limit = shard_tokens
        self._entries: list[dict[str, Any]] = []
        self._clear()

    def add(self, sentences: Iterable[list[int]]) -> None:
        """Adds one document, given as the ids of its sentences; empty sentences are left out."""
        kept = [ids for ids in sentences if ids]
        if not kept:
            return
        self._tokens += [np.asarray(ids, self._dtype) for ids in kept]
        self._sentences += [len(ids) for ids in kept]
        self._documents.append(len(kept))
        self._pending += sum(map(len, kept))
        if self._pending >= self._limit:
            self._flush()

    def finish(self, **about: Any) -> dict[str, Any]:
        """Writes the last shard and the manifest, with `about` in it; returns the manifest."""
        self._flush()
        manifest = {
            "format": FORMAT,
            **about,
            **{part: sum(entry[part]["count"] for entry in self._entries) for part in _PARTS},
            "shards": self._entries,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (self._folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
        return manifest

    def _flush(self) -> None:
        if not self._documents:
            return
        arrays = {
            "tokens": np.concatenate(self._tokens),
            "sentences": np.asarray(self._sentences, np.uint32),
            "documents": np.asarray(self._documents, np.uint32),
        }
        entry = {}
        for part, array in arrays.items():
            file = self._folder / f"{part}-{len(self._entries):05d}.npy"
            np.save(file, array)
            entry[part] = {
                "file": file.name,
                "count": int(array.size),
                "bytes": file.stat().st_size,
                "crc32": _crc32(file),
            }
        self._entries.append(entry)
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[np.ndarray] = []
        self._sentences: list[int] = []
        self._documents: list[int] = []
        self._pending = 0


@dataclasses.dataclass(frozen=True)
class TokenShards:
    """An opened corpus. Opening reads the manifest and checks sizes; pages are read when touched."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> TokenShards:
        """Opens a prepared corpus.

        Raises:
          UserError: no manifest, another format, or a file that is missing or of another size.
        """
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"no prepared corpus at {folder}: there is no manifest.json") from None
        except ValueError as error:
            raise UserError(f"{path}: not valid JSON ({error}); {_AGAIN}") from None
        if manifest.get("format") != FORMAT:
            raise UserError(f"{path}: format {manifest.get('format')} must be {FORMAT}; {_AGAIN}")
        for entry in manifest["shards"]:
            for part in entry.values():
                file = folder / part["file"]
                size = file.stat().st_size if file.is_file() else None
                if size != part["bytes"]:
                    found = "is missing" if size is None else f"has {size} bytes"
                    raise UserError(f"{file} {found}, must have {part['bytes']}; {_AGAIN}")
        return cls(folder, manifest)

    def verify(self) -> None:
        """Compares every checksum.

        Raises:
          UserError: a file whose content changed.
        """
        for entry in self.manifest["shards"]:
            for part in entry.values():
                file = self.folder / part["file"]
                found = _crc32(file)
                if found != part["crc32"]:
                    raise UserError(f"{file}: checksum {found} must be {part['crc32']}; {_AGAIN}")

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def special(self) -> SpecialIds:
        return SpecialIds(**self.manifest["special_ids"])

    @functools.cached_property
    def digest(self) -> str:
        """Identifies the content: equal digests, equal tokens and boundaries."""
        checksums = [part["crc32"] for entry in self.manifest["shards"] for part in entry.values()]
        text = json.dumps([checksums, self.manifest["vocab_size"], self.manifest["special_ids"]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @functools.cached_property
    def sentence_starts(self) -> np.ndarray:
        """First token of each sentence, and the end: int64 [sentences + 1]."""
        return self._starts("sentences")

    @functools.cached_property
    def document_starts(self) -> np.ndarray:
        """First sentence of each document, and the end: int64 [documents + 1]."""
        return self._starts("documents")

    def gather(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        """Runs of tokens as rows: out[i, :lengths[i]] = tokens[starts[i] : starts[i] + lengths[i]].

        No run may cross a shard's end (documents never do). Returns int32 [runs, width]; what lies
        beyond a run's length is unspecified.
        """
        out = np.empty((len(starts), width), np.int32)
        shard_of = np.searchsorted(self._shard_starts, starts, side="right") - 1
        offsets = np.arange(width)
        for shard in np.unique(shard_of):
            rows = np.flatnonzero(shard_of == shard) if len(self._maps) > 1 else slice(None)
            tokens = self._maps[shard]
            within = (starts[rows] - self._shard_starts[shard])[:, None]
            out[rows] = tokens[np.minimum(within + offsets, tokens.size - 1)]
        return out

    @functools.cached_property
    def _maps(self) -> list[np.ndarray]:
        files = [self.folder / entry["tokens"]["file"] for entry in self.manifest["shards"]]
        return [np.load(file, mmap_mode="r") for file in files]

    @functools.cached_property
    def _shard_starts(self) -> np.ndarray:
        counts = [entry["tokens"]["count"] for entry in self.manifest["shards"]]
        return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)

    def _starts(self, part: str) -> np.ndarray:
        lengths = [np.load(self.folder / entry[part]["file"]) for entry in self.manifest["shards"]]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths), dtype=np.int64)])


_AGAIN = "run `bert-jax prepare` with this config again"


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum
