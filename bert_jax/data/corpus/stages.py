"""The steps that make a prepared corpus of raw text, and the files between them.

    identity.json             whose preparation this is
    scanned-IIIII-BBBBB.npz   block B of input I, scanned
    blocks-IIIII.json         how many blocks input I has; written when it was read to its end
    kept.npy  decided.npz     which documents stay, which lines do not, where each block begins
    vocabulary/               the tokenizer
    encoded-IIIII-BBBBB.npz   block B of input I, encoded; takes the place of the scanned one
    corpus/                   the prepared corpus, as it will be

Each step for a block is a pure function of the block and of the files before it, each file appears whole, and what
is there and sound is never made again. So it decides nothing where and in which order the blocks are worked on,
nor how often that was interrupted.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import atomic
from bert_jax.config import Config
from bert_jax.data.corpus import stage_files as spool
from bert_jax.data.corpus.clean import Scanned, scan
from bert_jax.data.corpus.dedup import Kept, mark_first, select, shared_lines
from bert_jax.data.corpus.encode import ChunkEncoder, Encoded, encode
from bert_jax.data.corpus.shards import ShardWriter
from bert_jax.data.sources.blocks import BLOCK_BYTES, RawBlock
from bert_jax.data.sources.open import Input
from bert_jax.errors import UserError
from bert_jax.progress import bar
from bert_jax.text import tokenizer

_MOST_CHUNKS = 2**21
"""Distinct chunks that are counted: about 300 MB."""


class NoText(UserError):
    """Nothing is left to be a corpus."""


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """A block of the corpus; in order, blocks are the corpus."""

    input: int
    number: int


@dataclasses.dataclass(frozen=True)
class Preparation:
    """A preparation of `config` in `folder`; small to pickle, the same in every process."""

    config: Config
    folder: Path
    block_bytes: int = BLOCK_BYTES

    # Reading and scanning -------------------------------------------------------------------------------------

    def unread(self, inputs: Sequence[Input]) -> list[Input]:
        """The inputs of which a block is missing."""
        return [source for source in inputs if not self._is_scanned(source.number)]

    def blocks(self, source: Input) -> Iterator[RawBlock]:
        """Reads one input: the blocks of it that are still to be scanned."""
        count = 0
        for block in source.blocks(block_bytes=self.block_bytes):
            count += 1
            if not self._is_done(Place(block.input, block.number)):
                yield block
        atomic.write_text(self._count_file(source.number), json.dumps(count))

    def scan(self, block: RawBlock) -> None:
        """Scans one block."""
        scanned = scan(block, self.config.data, self.config.cleaning)
        scanned.save(self._file("scanned", Place(block.input, block.number)))

    def places(self, inputs: int) -> list[Place]:
        """All blocks, in order, once every input is scanned."""
        counts = [json.loads(self._count_file(number).read_text()) for number in range(inputs)]
        return [Place(number, block) for number, count in enumerate(counts) for block in range(count)]

    # Deciding -------------------------------------------------------------------------------------------------

    def decide(self, places: Sequence[Place]) -> None:
        """Finds duplicate documents and boilerplate lines over all blocks."""
        cleaning = self.config.cleaning
        if spool.is_sound(self.folder / "decided.npz"):
            return

        def parts(*names: str) -> Iterator[dict[str, Any]]:
            return (spool.load(self._file("scanned", place), names) for place in places)

        sizes = [len(part["document_hashes"]) for part in parts("document_hashes")]
        first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        kept = np.lib.format.open_memmap(self.folder / "kept.npy", "w+", bool, (int(first[-1]),))
        kept[:] = True
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
        where = np.array([(place.input, place.number) for place in places], np.int64).reshape(-1, 2)
        spool.save(self.folder / "decided.npz", {"first": first, "places": where, "boilerplate": boilerplate})

    def select(self, place: Place) -> tuple[Scanned, Kept]:
        """A block and what is kept of it."""
        decided = spool.load(self.folder / "decided.npz", ["first", "places", "boilerplate"])
        at = int(np.flatnonzero((decided["places"] == (place.input, place.number)).all(1))[0])
        kept = np.load(self.folder / "kept.npy", mmap_mode="r")
        kept = np.array(kept[decided["first"][at] : decided["first"][at + 1]])
        scanned = Scanned.load(self._file("scanned", place))
        short = self.config.cleaning.min_characters
        return scanned, select(scanned, kept, decided["boilerplate"], min_characters=short)

    # The vocabulary -------------------------------------------------------------------------------------------

    def learn_vocabulary(self, places: Sequence[Place]) -> None:
        """Trains the tokenizer on what is kept, unless it is there.

        Raises:
          ConfigError: a vocabulary that is too small.
        """
        if (self.folder / "vocabulary").is_dir():
            return
        counts: dict[str, int] = {}
        for place in bar(places, description="counting words", unit="blocks"):
            scanned, kept = self.select(place)
            occurrences = np.bincount(kept.numbers, minlength=len(scanned.chunks)).tolist()
            for chunk, count in zip(scanned.chunks, occurrences, strict=True):
                if count:
                    counts[chunk] = counts.get(chunk, 0) + count
            if len(counts) > _MOST_CHUNKS:
                counts = without_rarest(counts, _MOST_CHUNKS // 2)
        self.save_vocabulary(tokenizer.train(counts, self.config.tokenizer))

    def save_vocabulary(self, vocabulary: tokenizer.Tokenizer) -> None:
        """Keeps the tokenizer for the steps that follow, unless there is one."""
        if (self.folder / "vocabulary").is_dir():
            return
        with atomic.folder(self.folder / "vocabulary") as partial:
            vocabulary.save(partial)

    def vocabulary(self) -> tokenizer.Tokenizer:
        """The tokenizer that was kept."""
        return self._encoder().tokenizer

    def _encoder(self) -> ChunkEncoder:
        """The same object for every block of a process."""
        folder = self.folder / "vocabulary"
        return _load_encoder(folder, folder.stat().st_ino, folder.stat().st_mtime_ns)

    # Encoding and the corpus ----------------------------------------------------------------------------------

    def unencoded(self, places: Sequence[Place]) -> list[Place]:
        return [place for place in places if not spool.is_sound(self._file("encoded", place))]

    def encode(self, place: Place) -> None:
        """Encodes one block, and removes its scanned form."""
        scanned, kept = self.select(place)
        encoded = encode(scanned.chunks, kept, self._encoder(), name=self.config.tokenizer.path)
        counts: Counter[str] = Counter()
        for part in (scanned.counts, kept.counts, encoded.counts):
            counts.update(part)
        dataclasses.replace(encoded, counts=dict(counts)).save(self._file("encoded", place))
        self._file("scanned", place).unlink()

    def assemble(
        self, places: Sequence[Place], source_of: Sequence[int], names: Sequence[str], **about: Any
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
        writer = ShardWriter(corpus, vocab_size=vocabulary.vocab_size)
        documents = [0] * len(names)
        counts: Counter[str] = Counter()
        tokens = 0
        for place in bar(places, description="writing shards", unit="blocks"):
            block = Encoded.load(self._file("encoded", place))
            writer.add(block.ids, block.word_starts, block.sentences, block.documents)
            counts.update(block.counts)
            documents[source_of[place.input]] += len(block.documents)
            tokens += len(block.ids)
        if not tokens:
            raise NoText(
                f"the text of config.data.path={self.config.data.path!r} has no token: it has"
                f" {counts['documents_read']} documents and {counts['characters']} characters that cleaning keeps, all"
                " of them invisible"
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

    def _is_scanned(self, number: int) -> bool:
        try:
            count = json.loads(self._count_file(number).read_text())
        except (FileNotFoundError, ValueError):
            return False
        return all(self._is_done(Place(number, block)) for block in range(count))

    def _is_done(self, place: Place) -> bool:
        return any(spool.is_sound(self._file(step, place)) for step in ("encoded", "scanned"))

    def _file(self, step: str, place: Place) -> Path:
        return self.folder / f"{step}-{place.input:05d}-{place.number:05d}.npz"

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
