"""From raw text to a prepared corpus: the stages in order, on the processes of one machine or on another engine."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bert_jax import __version__, atomic, hub, locks
from bert_jax.config import PretrainConfig
from bert_jax.data.corpus import shards as corpora
from bert_jax.data.corpus import workers
from bert_jax.data.corpus.open import corpus_folder, data_root, deciding_values, vocabulary_checksum
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.corpus.stages import BlockId, NoText, Stages
from bert_jax.data.sources.blocks import BLOCK_BYTES, RawBlock
from bert_jax.data.sources.open import Input, Source, open_sources
from bert_jax.errors import ConfigError, UserError
from bert_jax.progress import bar
from bert_jax.text import tokenizer, vocabulary


class Engine(Protocol):
    """Applies a stage to every block. What is already done is left out."""

    def clean(self, stages: Stages, inputs: Sequence[Input]) -> None:
        """Reads `inputs` and calls `stages.clean` for each of the `stages.blocks` of each."""
        ...

    def encode(self, stages: Stages, ids: Sequence[BlockId]) -> None:
        """Calls `stages.encode` for each block."""
        ...


def prepare(
    config: PretrainConfig,
    *,
    processes: int = 1,
    engine: Engine | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[TokenShards, bool]:
    """Prepares the corpus of `config`, or finds it prepared: (corpus, whether it was made now).

    The bytes written are the same for any number of processes, on any engine and however often the work was
    interrupted: what is done is kept in FOLDER.partial, where the next call continues.

    Args:
      processes: how many do the work; 1: only this one.
      engine: does the work instead.
      block_bytes: text of one block; may be changed for corpora of less than a shard (see `shards`).

    Raises:
      UserError: no text, unreadable text, a vocabulary that does not fit, a full disk, or another process
        that prepares the same corpus.
    """
    folder = corpus_folder(config)
    sources = open_sources(config.data, cache_dir=data_root(config))
    path = config.tokenizer.path
    tokenizer_path = hub.resolve(path, tokenizer_only=True) if path else None
    text = {  # before reading: text that changes meanwhile counts as changed
        "sources": [source.identity() for source in sources],
        "vocabulary": vocabulary_checksum(tokenizer_path),
    }
    partial = folder.with_name(f"{folder.name}.partial")
    found = _find(folder, text)
    if found:
        shutil.rmtree(
            partial, ignore_errors=True
        )  # of a process that was killed once the corpus had its name
        return found, False
    given = _given_vocabulary(config, tokenizer_path)
    stages = Stages(config, partial, block_bytes)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(folder.with_name(f".{folder.name}.lock"), f"the preparation of {folder}"):
            found = _find(folder, text)  # made by the process that held the lock before
            if found:
                return found, False
            identity = {"text": text, "config": deciding_values(config), **_versions()}
            _begin(stages.folder, identity | {"block_bytes": block_bytes})
            with _removed_if_useless(stages.folder):
                _make(stages, sources, given, text, engine or LocalEngine(processes))
            if folder.exists():
                shutil.rmtree(folder)
            (stages.folder / "corpus").rename(folder)
            shutil.rmtree(stages.folder, ignore_errors=True)
    except OSError as error:  # numpy's carry neither the path nor, for a full disk, an errno
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}; free space there and run the same command again,"
            " which continues from there, or set config.data.directory"
        ) from error
    return TokenShards.open(folder), True


@dataclasses.dataclass(frozen=True)
class LocalEngine:
    """The engine of one machine."""

    processes: int

    def clean(self, stages: Stages, inputs: Sequence[Input]) -> None:
        total = sum(each.size for each in inputs)
        with bar(description="cleaning text", total=total or None, unit="B") as progress:

            def blocks() -> Iterator[RawBlock]:
                before = 0
                for each in stages.unread(inputs):
                    for block in stages.blocks(each):
                        yield block
                        progress.update(before + block.position - progress.n)
                    before += each.size

            with contextlib.closing(workers.each(stages.clean, blocks(), processes=self.processes)) as done:
                for _ in done:
                    progress.refresh()

    def encode(self, stages: Stages, ids: Sequence[BlockId]) -> None:
        left = stages.unencoded(ids)
        made = len(ids) - len(left)
        with (
            bar(description="writing tokens", total=len(ids), initial=made, unit="blocks") as progress,
            contextlib.closing(workers.each(stages.encode, left, processes=self.processes)) as done,
        ):
            for _ in done:
                progress.update()


def _make(
    stages: Stages,
    sources: Sequence[Source],
    given: tokenizer.Tokenizer | None,
    text: dict[str, Any],
    engine: Engine,
) -> None:
    """Goes through the stages; each leaves out what an earlier call has done."""
    inputs: list[Input] = []
    source_of: list[int] = []
    for number, source in enumerate(sources):
        found = source.inputs()
        inputs += found
        source_of += [number] * len(found)
    engine.clean(stages, inputs)
    ids = stages.block_ids(len(inputs))
    stages.decide(ids)
    if given is not None:
        stages.save_vocabulary(given)
    else:
        stages.learn_vocabulary(ids)
    engine.encode(stages, ids)
    names = [source.name for source in sources]
    stages.assemble(ids, source_of, names, text=text, config=deciding_values(stages.config))


def _versions() -> dict[str, Any]:
    """What else the bytes between the stages depend on."""
    return {
        "format": corpora.FORMAT,
        "bert_jax": __version__,
        "tokenizers": importlib.metadata.version("tokenizers"),
        "unicode": unicodedata.unidata_version,
    }


def _find(folder: Path, text: dict[str, Any]) -> TokenShards | None:
    """The corpus in `folder`, if it is complete and of this text; a damaged one is to be made again."""
    try:
        shards = TokenShards.open(folder)
        if shards.manifest["text"] != text:
            return None
        shards.verify()
    except UserError:
        return None
    return shards


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    """Makes the folder of a preparation, or keeps it if it is one of this `identity`."""
    file = folder / "identity.json"
    text = json.dumps(identity, indent=1, ensure_ascii=False)
    try:
        if file.read_text(encoding="utf-8") == text:
            return
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    atomic.write_text(file, text)


@contextlib.contextmanager
def _removed_if_useless(folder: Path) -> Iterator[None]:
    """Removes the folder of a preparation that could only fail again."""
    try:
        yield
    except (ConfigError, NoText):
        shutil.rmtree(folder)
        raise


def _given_vocabulary(config: PretrainConfig, path: Path | None) -> tokenizer.Tokenizer | None:
    """The tokenizer that `config` names, which is at `path`; None if one is to be trained."""
    if path is None:
        vocabulary.check_trainable(config.tokenizer)
        return None
    given = tokenizer.load(path, lowercase=config.tokenizer.lowercase)
    if given.vocab_size != config.tokenizer.vocab_size:
        raise UserError(
            f"config.tokenizer.vocab_size={config.tokenizer.vocab_size} must equal the size of"
            f" {config.tokenizer.path}: {given.vocab_size}"
        )
    for token in given.backend.get_added_tokens_decoder().values():
        # Text is encoded word by word, each with the space before it.
        if not token.special and (token.rstrip or len(token.content.split()) > 1):
            raise UserError(
                f"config.tokenizer.path={config.tokenizer.path!r}: its added token {token.content!r} crosses the end of"
                " a word, and words are encoded one by one: load a vocabulary without it"
            )
    return given
