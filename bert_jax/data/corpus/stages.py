"""The stages that make a prepared corpus of raw text, and the files between them.

    identity.json             whose preparation this is
    scanned-IIIII-BBBBB.npz   block B of input I, cleaned
    blocks-IIIII.json         how many blocks input I has; written when it was read to its end
    kept.npy  decided.npz     which documents stay, which lines do not, where each block begins
    vocabulary/               the tokenizer
    encoded-IIIII-BBBBB.npz   block B of input I, encoded; takes the place of the cleaned one
    corpus/                   the prepared corpus, as it will be

Each stage of a block is a pure function of the block and of the files before it, each file appears whole, and what is
there and sound is never made again. So the result does not depend on where and in which order blocks are worked on,
nor on how often that was interrupted.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import atomic
from bert_jax.config import PretrainConfig
from bert_jax.data.corpus import stage_files
from bert_jax.data.corpus.clean import Cleaned, clean
from bert_jax.data.corpus.dedup import Kept, mark_first, select, shared_lines
from bert_jax.data.corpus.encode import ChunkEncoder, Encoded, encode
from bert_jax.data.corpus.shards import ShardWriter
from bert_jax.data.growing import GrowingArray
from bert_jax.data.sources.blocks import BLOCK_BYTES, RawBlock
from bert_jax.data.sources.open import Input
from bert_jax.errors import UserError
from bert_jax.progress import bar
from bert_jax.text import tokenizer

_CLEANED, _ENCODED = "scanned", "encoded"  # as their files are named
_MOST_CHUNKS = 2**21
"""Distinct chunks that are counted: about 300 MB."""
_MOST_WRITTEN = 2**24
"""Documents that are noted at once."""


class NoText(UserError):
    """Nothing is left to be a corpus."""


@dataclasses.dataclass(frozen=True, order=True)
class BlockId:
    """Which block of the corpus; in this order, blocks are the corpus."""

    input: int
    number: int


@dataclasses.dataclass(frozen=True)
class Stages:
    """The stages of preparing `config` in `folder`; small to pickle, the same in every process."""

    config: PretrainConfig
    folder: Path
    block_bytes: int = BLOCK_BYTES

    # Reading and cleaning -------------------------------------------------------------------------------------

    def unread(self, inputs: Sequence[Input]) -> list[Input]:
        """The inputs of which a block is missing."""
        return [source for source in inputs if not self._is_cleaned(source.number)]

    def blocks(self, source: Input) -> Iterator[RawBlock]:
        """Reads one input: those of its blocks that are still to be cleaned."""
        count = 0
        for block in source.blocks(block_bytes=self.block_bytes):
            count += 1
            if not self._is_done(BlockId(block.input, block.number)):
                yield block
        atomic.write_text(self._count_file(source.number), str(count))

    def clean(self, block: RawBlock) -> None:
        """Cleans one block."""
        cleaned = clean(block, self.config.data, self.config.cleaning)
        cleaned.save(self._file(_CLEANED, BlockId(block.input, block.number)))

    def block_ids(self, inputs: int) -> list[BlockId]:
        """All blocks, in order, once every input is cleaned."""
        counts = [int(self._count_file(number).read_text()) for number in range(inputs)]
        return [BlockId(number, block) for number, count in enumerate(counts) for block in range(count)]

    # Deciding -------------------------------------------------------------------------------------------------

    def decide(self, ids: Sequence[BlockId]) -> None:
        """Finds duplicate documents and boilerplate lines over all blocks."""
        cleaning = self.config.cleaning
        if stage_files.is_sound(self.folder / "decided.npz"):
            return

        def parts(*names: str) -> Iterator[dict[str, Any]]:
            return (stage_files.load(self._file(_CLEANED, block), names) for block in ids)

        sizes = [len(part["document_hashes"]) for part in parts("document_hashes")]
        first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        kept = self._all_kept(int(first[-1]))
        if cleaning.drop_duplicates:
            hashes = (part["document_hashes"] for part in parts("document_hashes"))
            mark_first(hashes, kept, self.folder)
        boilerplate = np.zeros(0, np.uint64)
        if cleaning.boilerplate_documents:
            total = sum(len(part["line_hashes"]) for part in parts("line_hashes"))

            def lines() -> Iterator[tuple[np.ndarray, np.ndarray]]:
                for start, part in zip(first, parts("line_hashes", "documents"), strict=False):
                    document = start + np.repeat(np.arange(len(part["documents"])), part["documents"])
                    yield part["line_hashes"][kept[document]], document[kept[document]]

            boilerplate = shared_lines(
                lines(), total=total, documents=cleaning.boilerplate_documents, folder=self.folder
            )
        kept.flush()
        where = np.array([(block.input, block.number) for block in ids], np.int64).reshape(-1, 2)
        stage_files.save(
            self.folder / "decided.npz", {"first": first, "places": where, "boilerplate": boilerplate}
        )

    def _all_kept(self, documents: int) -> np.memmap:
        """kept.npy with True for every document, memory-mapped to be changed.

        Written first, not made by mapping it: a page of a map that the disk has no room for ends the process (SIGBUS).
        """
        file = self.folder / "kept.npy"
        with GrowingArray(file, bool) as kept:
            for start in range(0, documents, _MOST_WRITTEN):
                kept.append(np.ones(min(_MOST_WRITTEN, documents - start), bool))
        mapped: np.memmap = np.load(file, mmap_mode="r+")
        return mapped

    def select(self, block: BlockId) -> tuple[Cleaned, Kept]:
        """A block and what is kept of it."""
        decided = stage_files.load(self.folder / "decided.npz", ["first", "places", "boilerplate"])
        at = int(np.flatnonzero((decided["places"] == (block.input, block.number)).all(1))[0])
        kept = np.load(self.folder / "kept.npy", mmap_mode="r")
        kept = np.array(kept[decided["first"][at] : decided["first"][at + 1]])
        cleaned = Cleaned.load(self._file(_CLEANED, block))
        short = self.config.cleaning.min_characters
        return cleaned, select(cleaned, kept, decided["boilerplate"], min_characters=short)

    # The vocabulary -------------------------------------------------------------------------------------------

    def learn_vocabulary(self, ids: Sequence[BlockId]) -> None:
        """Trains the tokenizer on what is kept, unless there is one.

        Raises:
          ConfigError: a vocabulary that is too small.
        """
        if (self.folder / "vocabulary").is_dir():
            return
        counts: dict[str, int] = {}
        for block in bar(ids, description="counting words", unit="blocks"):
            cleaned, kept = self.select(block)
            occurrences = np.bincount(kept.numbers, minlength=len(cleaned.chunks)).tolist()
            for chunk, count in zip(cleaned.chunks, occurrences, strict=True):
                if count:
                    counts[chunk] = counts.get(chunk, 0) + count
            if len(counts) > _MOST_CHUNKS:
                counts = without_rarest(counts, _MOST_CHUNKS // 2)
        self.save_vocabulary(tokenizer.train(counts, self.config.tokenizer))

    def save_vocabulary(self, vocabulary: tokenizer.Tokenizer) -> None:
        """Keeps the tokenizer for the stages that follow, unless there is one."""
        if (self.folder / "vocabulary").is_dir():
            return
        with atomic.folder(self.folder / "vocabulary") as partial:
            vocabulary.save(partial)

    def vocabulary(self) -> tokenizer.Tokenizer:
        """The tokenizer of `save_vocabulary`."""
        return self._encoder().tokenizer

    def _encoder(self) -> ChunkEncoder:
        """The same object for every block of a process."""
        folder = self.folder / "vocabulary"
        return _load_encoder(folder, folder.stat().st_ino, folder.stat().st_mtime_ns)

    # Encoding and the corpus ----------------------------------------------------------------------------------

    def unencoded(self, ids: Sequence[BlockId]) -> list[BlockId]:
        return [block for block in ids if not stage_files.is_sound(self._file(_ENCODED, block))]

    def encode(self, block: BlockId) -> None:
        """Encodes one block, and removes its cleaned form."""
        cleaned, kept = self.select(block)
        encoded = encode(cleaned.chunks, kept, self._encoder(), name=self.config.tokenizer.path)
        counts: Counter[str] = Counter()
        for part in (cleaned.counts, kept.counts, encoded.counts):
            counts.update(part)
        dataclasses.replace(encoded, counts=dict(counts)).save(self._file(_ENCODED, block))
        self._file(_CLEANED, block).unlink()

    def assemble(
        self, ids: Sequence[BlockId], source_of: Sequence[int], names: Sequence[str], **about: Any
    ) -> None:
        """Puts the corpus together; with `about` in its manifest.

        Args:
          source_of: the source of each input. names: the sources'.

        Raises:
          NoText: there is no token.
        """
        corpus = self.folder / "corpus"
        shutil.rmtree(corpus, ignore_errors=True)
        shutil.copytree(self.folder / "vocabulary", corpus)
        vocabulary = self.vocabulary()
        with ShardWriter(corpus, vocab_size=vocabulary.vocab_size) as writer:
            documents = [0] * len(names)
            counts: Counter[str] = Counter()
            tokens = 0
            for block in bar(ids, description="writing shards", unit="blocks"):
                encoded = Encoded.load(self._file(_ENCODED, block))
                writer.add(encoded.ids, encoded.word_starts, encoded.sentences, encoded.documents)
                counts.update(encoded.counts)
                documents[source_of[block.input]] += len(encoded.documents)
                tokens += len(encoded.ids)
            if not tokens:
                data, nulls = self.config.data, counts["skipped_null"]
                hint = (
                    f"; config.data.text_field={data.text_field!r} is null in {nulls} more" if nulls else ""
                )
                raise NoText(
                    f"the text of config.data.path={data.path!r} has no token: it has {counts['documents_read']} documents"
                    f" and {counts['characters']} characters that cleaning keeps, all of them invisible{hint}"
                )
            unused = (
                vocabulary.vocab_size
                - len(vocabulary.ordinary_ids())
                - len(set(dataclasses.astuple(vocabulary.special)))
            )
            writer.finish(
                vocab_size=vocabulary.vocab_size,
                special_ids=dataclasses.asdict(vocabulary.special),
                sources=[{"name": name, "documents": n} for name, n in zip(names, documents, strict=True)],
                counts=dict(sorted(counts.items())) | {"unused_entries": unused},
                **about,
            )

    # ----------------------------------------------------------------------------------------------------------

    def _is_cleaned(self, number: int) -> bool:
        try:
            count = int(self._count_file(number).read_text())
        except (FileNotFoundError, ValueError):
            return False
        return all(self._is_done(BlockId(number, block)) for block in range(count))

    def _is_done(self, block: BlockId) -> bool:
        return any(stage_files.is_sound(self._file(stage, block)) for stage in (_ENCODED, _CLEANED))

    def _file(self, stage: str, block: BlockId) -> Path:
        return self.folder / f"{stage}-{block.input:05d}-{block.number:05d}.npz"

    def _count_file(self, number: int) -> Path:
        return self.folder / f"blocks-{number:05d}.json"


@functools.lru_cache(maxsize=1)
def _load_encoder(folder: Path, *version: int) -> ChunkEncoder:
    return ChunkEncoder(tokenizer.load(folder))


def without_rarest(counts: dict[str, int], most: int) -> dict[str, int]:
    """The counts above the smallest of 1, 2, 4, ... that leaves at most `most` of them."""
    least = 1
    while sum(count > least for count in counts.values()) > most:
        least *= 2
    return {chunk: count for chunk, count in counts.items() if count > least}
