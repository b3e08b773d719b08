"""From raw text to a prepared corpus: where it lies, whether it is there, and making it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bert_jax import __version__, atomic, locks
from bert_jax.config import Config
from bert_jax.data.corpus import shards as corpora
from bert_jax.data.corpus import workers
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.corpus.stages import NoText, Place, Preparation
from bert_jax.data.sources import tfds
from bert_jax.data.sources.blocks import BLOCK_BYTES, RawBlock
from bert_jax.data.sources.open import INSTALLED_DOCS, Input, Source, open_sources
from bert_jax.errors import ConfigError, UserError
from bert_jax.progress import bar
from bert_jax.text import tokenizer, vocabulary


def data_root(config: Config) -> Path:
    """The folder of all prepared corpora: `data.directory`, else $BERT_JAX_DATA, else ~/.cache/bert_jax."""
    return Path(config.data.directory or os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax").expanduser()


def corpus_folder(config: Config) -> Path:
    """The folder of this config's corpus, named by its first source and by everything that decides its tokens."""
    key = json.dumps(_decisive(config))
    first = config.data.sources()[0]
    name = first if first.startswith("tfds:") else Path(first).name.partition(".")[0]
    readable = re.sub(r"\W+", "_", name.removeprefix("tfds:")).strip("_")[:40]
    return data_root(config) / f"{readable or 'text'}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def open_corpus(config: Config, *, experiment: str = "X") -> TokenShards:
    """The prepared corpus of `config`.

    Raises:
      UserError: it is not there, is damaged or another one, or its text or vocabulary was edited since.
    """
    folder = corpus_folder(config)
    again = f"run `bert-jax prepare --config {experiment}`"
    if not (folder / "manifest.json").is_file():
        raise UserError(f"no prepared corpus at {folder}: {again} first")
    shards = TokenShards.open(folder)
    for key, ours in _decisive(config).items():
        theirs = shards.manifest["config"].get(key)
        if theirs != ours:
            raise UserError(f"{folder}/manifest.json: {key}={theirs!r} must be {ours!r}; {again} again")
    if shards.vocab_size != config.tokenizer.vocab_size:
        raise UserError(
            f"{folder}/manifest.json: a vocabulary of {shards.vocab_size} entries, config.tokenizer.vocab_size="
            f"{config.tokenizer.vocab_size}; {again} again"
        )
    shards.verify_vocabulary()
    text = shards.manifest["text"]
    for path, size, changed in (file for source in text["sources"] for file in source.get("files", [])):
        if "://" in path or not os.path.isfile(path):
            continue  # a machine that only trains need not have the text
        now = os.stat(path)
        if (now.st_size, now.st_mtime_ns) != (size, changed):
            raise UserError(
                f"{path} was changed after it was prepared ({size} bytes then, {now.st_size} now): {again} again"
            )
    if text["vocabulary"] not in (None, found := _vocabulary_checksum(config)) and found is not None:
        raise UserError(
            f"{config.tokenizer.path} was changed after the corpus was prepared with it: {again} again"
        )
    return shards


class Engine(Protocol):
    """Does the work of a preparation on every block. What is already done is not to be done again."""

    def scan(self, work: Preparation, inputs: Sequence[Input]) -> None:
        """Reads `inputs` and calls `work.scan` for each of the `work.blocks` of each."""
        ...

    def encode(self, work: Preparation, places: Sequence[Place]) -> None:
        """Calls `work.encode` for each place."""
        ...


def prepare(
    config: Config, *, processes: int = 1, engine: Engine | None = None, block_bytes: int = BLOCK_BYTES
) -> tuple[TokenShards, bool]:
    """Prepares the corpus of `config`, or finds it prepared: (corpus, whether it was made now).

    The bytes written are the same for any number of processes, on any engine and however often the work was
    interrupted: what is done lies in FOLDER.partial, where the next call goes on.

    Args:
      processes: how many work on it; 1: only this one.
      engine: does the work instead.
      block_bytes: text that is worked on at once; may be changed for corpora of less than a shard (see `shards`).

    Raises:
      UserError: no text, unreadable text, a vocabulary that does not fit, a full disk, or another process
        that prepares the same corpus.
    """
    folder = corpus_folder(config)
    sources = open_sources(config.data, cache_dir=data_root(config))
    text = {  # before reading: text that changes meanwhile counts as changed
        "sources": [source.identity() for source in sources],
        "vocabulary": _vocabulary_checksum(config),
    }
    found = _find(folder, text)
    if found:
        return found, False
    given = _given_vocabulary(config)
    work = Preparation(config, folder.with_name(f"{folder.name}.partial"), block_bytes)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(folder.with_name(f".{folder.name}.lock"), f"the preparation of {folder}"):
            found = _find(folder, text)  # made by the process that held the lock before
            if found:
                return found, False
            _begin(
                work, {"text": text, "config": _decisive(config), **_versions(), "block_bytes": block_bytes}
            )
            with _removed_if_useless(work.folder):
                _make(work, sources, given, text, engine or _Processes(processes))
            if folder.exists():
                shutil.rmtree(folder)
            (work.folder / "corpus").rename(folder)
            shutil.rmtree(work.folder)
    except OSError as error:  # numpy's carry neither the path nor, for a full disk, an errno
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}; make room there and run the same command again,"
            " which goes on from there, or set config.data.directory"
        ) from error
    return TokenShards.open(folder), True


@dataclasses.dataclass(frozen=True)
class _Processes:
    """The engine of one machine."""

    processes: int

    def scan(self, work: Preparation, inputs: Sequence[Input]) -> None:
        total = sum(each.size for each in inputs)
        with bar(description="scanning text", total=total or None, unit="B") as progress:

            def blocks() -> Iterator[RawBlock]:
                before = 0
                for each in work.unread(inputs):
                    for block in work.blocks(each):
                        yield block
                        progress.update(before + block.position - progress.n)
                    before += each.size

            with contextlib.closing(workers.each(work.scan, blocks(), processes=self.processes)) as done:
                for _ in done:
                    progress.refresh()

    def encode(self, work: Preparation, places: Sequence[Place]) -> None:
        left = work.unencoded(places)
        made = len(places) - len(left)
        with (
            bar(description="writing tokens", total=len(places), initial=made, unit="blocks") as progress,
            contextlib.closing(workers.each(work.encode, left, processes=self.processes)) as done,
        ):
            for _ in done:
                progress.update()


def _make(
    work: Preparation,
    sources: Sequence[Source],
    given: tokenizer.Tokenizer | None,
    text: dict[str, Any],
    engine: Engine,
) -> None:
    """Goes through the steps; each leaves out what an earlier call has done."""
    inputs: list[Input] = []
    of_source: list[int] = []
    for number, source in enumerate(sources):
        found = source.inputs()
        inputs += found
        of_source += [number] * len(found)
    engine.scan(work, inputs)
    places = work.places(len(inputs))
    work.decide(places)
    if given is not None:
        work.save_vocabulary(given)
    else:
        work.learn_vocabulary(places)
    engine.encode(work, places)
    names = [source.name for source in sources]
    work.assemble(places, of_source, names, text=text, config=_decisive(work.config))


def _decisive(config: Config) -> dict[str, Any]:
    """Every value that decides the tokens. Local paths are absolute: elsewhere, a relative one is another."""
    data = config.data
    entries = [_absolute(entry) for entry in data.sources()]
    fields = {
        "data.path": entries,
        "data.tfds_dir": _absolute(data.tfds_dir) if data.tfds_dir else "",
        "data.text_field": data.text_field,
        "data.sentences": data.sentences,
    }
    vocabulary = dataclasses.asdict(config.tokenizer)
    vocabulary["path"] = _absolute(vocabulary["path"]) if vocabulary["path"] else ""
    for group, values in (("cleaning", dataclasses.asdict(config.cleaning)), ("tokenizer", vocabulary)):
        fields |= {f"{group}.{name}": value for name, value in values.items()}
    return fields


def _absolute(entry: str) -> str:
    if entry == INSTALLED_DOCS or entry.startswith(tfds.PREFIX) or "://" in entry:
        return entry
    return os.path.abspath(os.path.expanduser(entry))


def _versions() -> dict[str, Any]:
    """What else the bytes between the steps depend on."""
    return {
        "format": corpora.FORMAT,
        "bert_jax": __version__,
        "tokenizers": importlib.metadata.version("tokenizers"),
        "unicode": unicodedata.unidata_version,
    }


def _find(folder: Path, text: dict[str, Any]) -> TokenShards | None:
    """The corpus in `folder`, if it is of this text and whole; one that is damaged is to be made again."""
    try:
        shards = TokenShards.open(folder)
        if shards.manifest["text"] != text:
            return None
        shards.verify()
    except UserError:
        return None
    return shards


def _begin(work: Preparation, identity: dict[str, Any]) -> None:
    """Makes the folder of the preparation, or keeps it if it is one of this `identity`."""
    file = work.folder / "identity.json"
    text = json.dumps(identity, indent=1, ensure_ascii=False)
    try:
        if file.read_text(encoding="utf-8") == text:
            return
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    if work.folder.exists():
        shutil.rmtree(work.folder)
    work.folder.mkdir()
    atomic.write_text(file, text)


@contextlib.contextmanager
def _removed_if_useless(folder: Path) -> Iterator[None]:
    """Removes the folder of a preparation that could only fail again."""
    try:
        yield
    except (ConfigError, NoText):
        shutil.rmtree(folder)
        raise


def _given_vocabulary(config: Config) -> tokenizer.Tokenizer | None:
    if not config.tokenizer.path:
        vocabulary.check_trainable(config.tokenizer)
        return None
    given = tokenizer.load(config.tokenizer.path, lowercase=config.tokenizer.lowercase)
    if given.vocab_size != config.tokenizer.vocab_size:
        raise UserError(
            f"config.tokenizer.vocab_size={config.tokenizer.vocab_size} must equal the size of"
            f" {config.tokenizer.path}: {given.vocab_size}"
        )
    return given


def _vocabulary_checksum(config: Config) -> str | None:
    """Of the files that make the loaded tokenizer; None if it is trained, or the files are not there."""
    path = Path(config.tokenizer.path)
    if not config.tokenizer.path or not path.exists():
        return None
    folder = path if path.is_dir() else path.parent
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")
    beside = {folder / name for name in (*names, "special_tokens_map.json", "tokenizer_config.json")}
    files = {*beside, *folder.glob("*.model")} if path.is_dir() else {*beside, path}
    checksum = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        checksum.update(file.name.encode() + b"\0" + file.read_bytes())
    return checksum.hexdigest()
