"""Token shards: a corpus as ids, with word, sentence and document boundaries, memory-mapped.

    tokens-00000.npy  ids of the shard's sentences, end to end (uint16, or uint32 for a large vocabulary)
    words-00000.npy   one bit per token, little-endian in uint8: whether the token begins a word
    sentences.npy     first token of each sentence of the corpus, and the end (int64)
    documents.npy     first sentence of each document of the corpus, and the end (int64)
    manifest.json     counts, sources, checksums, vocabulary, origin of the text; written last

A folder without a manifest is not a corpus. Tokens are numbered over the whole corpus, shard after shard. Shards are
few and large, because an open memory map costs a file descriptor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import array_file, atomic, json_file
from bert_jax.data.growing import GrowingArray
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SpecialIds

FORMAT = 2
_SHARD_TOKENS = 2**28
"""Tokens after which a shard is closed: 512 MiB of uint16."""
_PREPARE_AGAIN = "run `bert-jax prepare` with this config again"
_PART = {"file": str, "bytes": int, "crc32": int}
_MANIFEST: dict[str, Any] = {
    "vocab_size": int,
    "special_ids": {field.name: int for field in dataclasses.fields(SpecialIds)},
    "counts": {"sentences": int, "documents": int, "tokens": int},
    "sources": [{"name": str, "documents": int}],
    "files": [_PART],
    "shards": [{"tokens": {**_PART, "count": int}, "words": {**_PART, "count": int}}],
}
_BLOCK = 2**20
"""Entries that are looked at together."""


class ShardWriter:
    """Writes a corpus block after block; holds no more than one block. A `with` block closes its files.

    Without `finish` there is no manifest, and so no corpus.
    """

    def __init__(self, folder: Path, *, vocab_size: int, shard_tokens: int = _SHARD_TOKENS):
        self._folder = folder
        self._dtype = _token_type(vocab_size)
        self._limit = shard_tokens
        self._entries: list[dict[str, Any]] = []
        self._tokens: GrowingArray | None = None
        self._words: GrowingArray | None = None
        self._odd_bits = np.zeros(0, bool)  # word starts that do not yet fill a byte
        self._bounds = {
            name: GrowingArray(folder / f"{name}.npy", np.int64) for name in ("sentences", "documents")
        }
        self._ends = {"sentences": 0, "documents": 0}
        for bounds in self._bounds.values():
            bounds.append(np.zeros(1, np.int64))

    def add(
        self, ids: np.ndarray, word_starts: np.ndarray, sentences: np.ndarray, documents: np.ndarray
    ) -> None:
        """Adds whole documents.

        Args:
          ids, word_starts: [T] of their tokens, end to end.
          sentences: tokens in each sentence, all > 0. documents: sentences in each document, all > 0.
        """
        if not len(documents):
            return
        if self._tokens is None or self._words is None:
            number = len(self._entries)
            self._tokens = GrowingArray(self._folder / f"tokens-{number:05d}.npy", self._dtype)
            self._words = GrowingArray(self._folder / f"words-{number:05d}.npy", np.uint8)
        self._tokens.append(ids)
        bits = np.concatenate([self._odd_bits, word_starts])
        whole = len(bits) // 8 * 8
        self._words.append(np.packbits(bits[:whole], bitorder="little"))
        self._odd_bits = bits[whole:]
        for name, lengths in (("sentences", sentences), ("documents", documents)):
            ends = self._ends[name] + np.cumsum(lengths, dtype=np.int64)
            self._bounds[name].append(ends)
            self._ends[name] = int(ends[-1])
        if self._tokens.count >= self._limit:
            self._close_shard()

    def finish(
        self,
        *,
        vocab_size: int,
        special_ids: dict[str, int],
        sources: list[dict[str, Any]],
        counts: dict[str, Any],
        **about: Any,
    ) -> dict[str, Any]:
        """Closes the last shard and writes the manifest, which includes `about`; returns the manifest.

        sources: {"name", "documents"} of each, in the order in which their documents were added. Files that are
        in the folder already (the vocabulary) are checksummed too.
        """
        self._close_shard()
        of_shards = {entry[part]["file"] for entry in self._entries for part in entry}
        sizes = {name: bounds.count - 1 for name, bounds in self._bounds.items()}
        for bounds in self._bounds.values():
            bounds.close()
        others = sorted(
            file for file in self._folder.iterdir() if file.is_file() and file.name not in of_shards
        )
        tokens = sum(entry["tokens"]["count"] for entry in self._entries)
        manifest = {
            "format": FORMAT,
            **about,
            "vocab_size": vocab_size,
            "special_ids": special_ids,
            "counts": {**sizes, "tokens": tokens, **counts},
            "sources": sources,
            "files": [_entry(file) for file in others],
            "shards": self._entries,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        atomic.write_text(self._folder / "manifest.json", text + "\n")
        return manifest

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        for array in (*self._bounds.values(), self._tokens, self._words):
            if array is not None:
                with contextlib.suppress(OSError):  # of a full disk, which was met before
                    array.close()

    def _close_shard(self) -> None:
        if self._tokens is None or self._words is None:
            return
        self._words.append(np.packbits(self._odd_bits, bitorder="little"))
        self._odd_bits = self._odd_bits[:0]
        parts = {"tokens": self._tokens, "words": self._words}
        for part in parts.values():
            part.close()
        self._entries.append(
            {name: _entry(part.path) | {"count": part.count} for name, part in parts.items()}
        )
        self._tokens = self._words = None


@dataclasses.dataclass(frozen=True)
class TokenShards:
    """An opened corpus. Opening reads the manifest and checks sizes; pages are read when touched."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> TokenShards:
        """Opens a prepared corpus.

        Raises:
          UserError: no manifest, another format, a file elsewhere, or one that is missing or of another size.
        """
        path = folder / "manifest.json"
        try:
            manifest = json_file.read(path, advice=_PREPARE_AGAIN)
        except FileNotFoundError:
            raise UserError(f"no prepared corpus at {folder}: there is no manifest.json") from None
        if manifest.get("format") != FORMAT:
            raise UserError(f"{path}: format {manifest.get('format')} must be {FORMAT}; {_PREPARE_AGAIN}")
        if fault := json_file.fault(manifest, _MANIFEST):
            raise UserError(f"{path}: {fault}; {_PREPARE_AGAIN}")
        held = sum(entry["tokens"]["count"] for entry in manifest["shards"])
        if held != manifest["counts"]["tokens"]:
            raise UserError(
                f"{path}: counts.tokens={manifest['counts']['tokens']} must be {held}, those of all shards; {_PREPARE_AGAIN}"
            )
        shards = cls(folder, manifest)
        for part in shards._parts():
            if not json_file.is_file_name(part["file"]):  # the corpus may come from anywhere
                raise UserError(
                    f"{path}: {part['file']!r} must be a file name, without folders; {_PREPARE_AGAIN}"
                )
            file = folder / part["file"]
            size = file.stat().st_size if file.is_file() else None
            if size != part["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes"
                raise UserError(f"{file} {found}, must have {part['bytes']}; {_PREPARE_AGAIN}")
        return shards

    def hold(self) -> None:
        """Opens every file now: this corpus is read to the end, also where another takes its place meanwhile.

        Raises:
          UserError: another has taken it already; a file is not what the manifest says.
        """
        _ = self._tokens, self._words, self.sentence_starts, self.document_starts
        if TokenShards.open(self.folder).manifest != self.manifest:
            raise UserError(f"{self.folder} was prepared anew at this moment: run the same command again")

    def verify(self) -> None:
        """Compares every checksum, and checks that sentences and documents have the counts and the order they must.

        Raises:
          UserError: a file whose content changed, or that belongs to another corpus.
        """
        for part in self._parts():
            self._verify(part)
        counts = self.manifest["counts"]
        self._verify_bounds("sentences.npy", self.sentence_starts, counts["tokens"])
        self._verify_bounds("documents.npy", self.document_starts, counts["sentences"])

    def _verify_bounds(self, name: str, bounds: np.ndarray, end: int) -> None:
        """Bounds ascend from 0 to `end`."""
        blocks = (bounds[at : at + _BLOCK + 1] for at in range(0, len(bounds), _BLOCK))
        ascend = all((np.diff(block) > 0).all() for block in blocks)
        if not ascend or (bounds[0], bounds[-1]) != (0, end):
            raise UserError(f"{self.folder / name}: must ascend from 0 to {end}; {_PREPARE_AGAIN}")

    def verify_vocabulary(self) -> None:
        """Compares the checksums of the vocabulary's files alone, which finds the manifest of another vocabulary.

        Raises:
          UserError: a file that does not belong to the manifest.
        """
        for part in self.manifest["files"]:
            if not part["file"].endswith(".npy"):
                self._verify(part)

    def _verify(self, part: dict[str, Any]) -> None:
        file = self.folder / part["file"]
        found = array_file.crc32(file)
        if found != part["crc32"]:
            raise UserError(f"{file}: checksum {found} must be {part['crc32']}; {_PREPARE_AGAIN}")

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def special(self) -> SpecialIds:
        return SpecialIds(**{name: self.manifest["special_ids"][name] for name in _MANIFEST["special_ids"]})

    @functools.cached_property
    def digest(self) -> str:
        """Identifies the content: equal digests, equal tokens, boundaries, sources and vocabulary."""
        files = [(part["file"], part["crc32"]) for part in self._parts()]
        sizes = [source["documents"] for source in self.manifest["sources"]]
        text = json.dumps([files, sizes, self.manifest["vocab_size"], self.manifest["special_ids"]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @functools.cached_property
    def sentence_starts(self) -> np.ndarray:
        """First token of each sentence, and the end: int64 [sentences + 1], memory-mapped."""
        return self._mapped("sentences.npy", np.int64, self.manifest["counts"]["sentences"] + 1)

    @functools.cached_property
    def document_starts(self) -> np.ndarray:
        """First sentence of each document, and the end: int64 [documents + 1], memory-mapped."""
        return self._mapped("documents.npy", np.int64, self.manifest["counts"]["documents"] + 1)

    def gather(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        """Windows of tokens: out[i, :lengths[i]] = tokens[starts[i] : starts[i] + lengths[i]].

        No window may cross the end of a shard (documents never do). Returns int32 [windows, width]; what is
        beyond a window's length is unspecified.
        """
        out = np.empty((len(starts), width), np.int32)
        for these, shard, within in self._by_shard(starts):
            out[these] = _windows(self._tokens[shard], within, width)
        return out

    def gather_words(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        """Whether each token of the windows begins a word: bool [windows, width]; otherwise as `gather`."""
        out = np.empty((len(starts), width), bool)
        for these, shard, within in self._by_shard(starts):
            packed = _windows(self._words[shard], within >> 3, -(-width // 8) + 1).astype(np.uint16)
            shift = (within & 7).astype(np.uint16)[:, None]
            aligned = ((packed[:, :-1] | packed[:, 1:] << 8) >> shift).astype(np.uint8)
            out[these] = np.unpackbits(aligned, axis=1, count=width, bitorder="little").view(bool)
        return out

    def _by_shard(self, starts: np.ndarray) -> Iterator[tuple[Any, int, np.ndarray]]:
        """(which of `starts`, shard, first token within the shard) of each shard that holds some of them."""
        if len(self._tokens) == 1:
            yield slice(None), 0, np.asarray(starts)
            return
        shard_of = np.searchsorted(self._shard_starts, starts, side="right") - 1
        for shard in np.unique(shard_of):
            these = np.flatnonzero(shard_of == shard)
            yield these, int(shard), starts[these] - self._shard_starts[shard]

    def _parts(self) -> Iterator[dict[str, Any]]:
        yield from self.manifest["files"]
        for entry in self.manifest["shards"]:
            yield from entry.values()

    @functools.cached_property
    def _tokens(self) -> list[np.ndarray]:
        dtype = _token_type(self.vocab_size)
        parts = [entry["tokens"] for entry in self.manifest["shards"]]
        return [self._mapped(part["file"], dtype, part["count"]) for part in parts]

    @functools.cached_property
    def _words(self) -> list[np.ndarray]:
        parts = [entry["words"] for entry in self.manifest["shards"]]
        return [self._mapped(part["file"], np.uint8, part["count"]) for part in parts]

    def _mapped(self, name: str, dtype: np.typing.DTypeLike, count: int) -> np.ndarray:
        found = array_file.mapped(self.folder / name, np.dtype(dtype))
        if found is None or len(found) != count:
            raise UserError(
                f"{self.folder / name}: must hold {count} numbers of {np.dtype(dtype)}; {_PREPARE_AGAIN}"
            )
        return np.asarray(found)  # a plain array over the map: np.memmap is slow to index

    @functools.cached_property
    def _shard_starts(self) -> np.ndarray:
        counts = [entry["tokens"]["count"] for entry in self.manifest["shards"]]
        return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)


def _windows(values: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """values[start : start + width] of each start: [starts, width]; beyond the end, the last value is repeated."""
    inside = starts <= values.size - width
    out = np.empty((len(starts), width), values.dtype)
    if inside.any():  # a strided view: whole windows are copied, 16 times faster than element by element
        out[inside] = np.lib.stride_tricks.sliding_window_view(values, width)[starts[inside]]
    if not inside.all():
        out[~inside] = values[np.minimum(starts[~inside, None] + np.arange(width), values.size - 1)]
    return out


def _token_type(vocab_size: int) -> np.dtype:
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def _entry(file: Path) -> dict[str, Any]:
    return {"file": file.name, "bytes": file.stat().st_size, "crc32": array_file.crc32(file)}
