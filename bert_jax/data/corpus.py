"""Where text comes from: files, prepared TFDS datasets, or the documentation that is installed.

Every source gives documents in the same order each time, says what its text is (`identity`), and reports faults
as one line with the place. Text stays as it is but for stripped lines and dropped blank ones.
"""

from __future__ import annotations

import dataclasses
import difflib
import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bert_jax.config import DataConfig
from bert_jax.data.installed_docs import InstalledDocs
from bert_jax.errors import UserError
from bert_jax.progress import bar

_ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_BYTE_ORDER_MARK = "\ufeff"


@dataclasses.dataclass(frozen=True)
class Document:
    """One text. `name` is the place for messages ("books.jsonl.gz:12"); a sentence never crosses a line."""

    name: str
    lines: tuple[str, ...]


class Source(Protocol):
    """A corpus that can be read more than once."""

    def identity(self) -> dict[str, Any]:
        """What the text is, ready for JSON: two equal identities are the same text."""
        ...

    def documents(self) -> Iterator[Document]:
        """Every document that has text, in the same order each time, under a progress bar.

        Raises `UserError` for a broken input, and at the end if there was no document at all.
        """
        ...


def open_source(config: DataConfig, *, cache_dir: Path) -> Source:
    """The source that the configuration names, its inputs checked; `cache_dir` keeps what is slow to make."""
    if config.source == "files":
        return TextFiles(config.path, text_field=config.text_field)
    if config.source == "tfds":
        return PreparedDataset(
            config.path, split=config.split, data_dir=config.tfds_dir, text_field=config.text_field
        )
    return InstalledDocs(cache_dir)


def text_lines(text: str) -> tuple[str, ...]:
    """The lines that are not blank, stripped."""
    return tuple(stripped for line in text.split("\n") if (stripped := line.strip()))


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


class TextFiles:
    """`.txt` (a blank line ends a document) and `.jsonl` (a document a line), plain or gzip; never held whole."""

    def __init__(self, pattern: str, *, text_field: str):
        self._files = _find_files(pattern)
        self._pattern = pattern
        self._text_field = text_field

    def identity(self) -> dict[str, Any]:
        files = []
        for path in self._files:
            status = _status(path)
            files.append([os.path.realpath(path), status.st_size, status.st_mtime_ns])
        return {"source": "files", "text_field": self._text_field, "files": files}

    def documents(self) -> Iterator[Document]:
        found = False
        total = sum(_status(path).st_size for path in self._files)
        with bar(description="reading text", total=total, unit="B") as progress:
            for path in self._files:
                for document in self._read(path, progress):
                    found = True
                    yield document
        if not found:
            raise UserError(
                f"config.data.path={self._pattern!r} holds no text: its {len(self._files)} files have blank"
                " lines only; name files with text"
            )

    def _read(self, path: Path, progress) -> Iterator[Document]:
        is_json = ".jsonl" in path.suffixes
        position = 0
        try:
            with open(path, "rb") as raw:
                lines = _decoded_lines(path, raw)
                documents = self._from_jsonl(path, lines) if is_json else _from_text(path, lines)
                for document in documents:
                    yield document
                    progress.update(raw.tell() - position)  # compressed bytes, which the total counts too
                    position = raw.tell()
                progress.update(raw.tell() - position)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read: {error.strerror or error}; mend or leave it out"
            ) from error

    def _from_jsonl(self, path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Document]:
        for number, line in lines:
            if not line.strip():
                continue
            place = f"{path}:{number}"
            if document := text_lines(_json_text(line, self._text_field, place)):
                yield Document(place, document)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read: {error.strerror or error}; mend or leave it out")


def _find_files(pattern: str) -> list[Path]:
    """Files by comma-separated paths, folders and globs, sorted, each once."""
    found: dict[str, Path] = {}
    for piece in filter(None, (part.strip() for part in pattern.split(","))):
        for path in _expand(piece):
            found.setdefault(os.path.realpath(path), path)
    if not found:
        raise UserError(f"config.data.path={pattern!r} names no file; set it to files, folders or globs")
    return [found[real] for real in sorted(found)]


def _expand(piece: str) -> list[Path]:
    place = f"config.data.path={piece!r}"
    known = ", ".join(_ENDINGS)
    path = Path(piece).expanduser()
    if path.exists():
        candidates = [path]
    elif glob.has_magic(piece):
        candidates = [Path(match) for match in glob.glob(str(path), recursive=True)]
        if not candidates:
            raise UserError(f"{place} matches nothing in {Path.cwd()}; mend the glob")
    else:
        raise UserError(f"{place}: no such file or folder (looked in {Path.cwd()}); mend the path")
    files = [candidate for candidate in candidates if not candidate.is_dir()]
    for file in files:
        if not file.name.endswith(_ENDINGS):
            raise UserError(f"{place}: {file} must end in one of {known}; rename it or leave it out")
    for folder in (candidate for candidate in candidates if candidate.is_dir()):
        files += (p for p in folder.rglob("*") if p.name.endswith(_ENDINGS) and p.is_file())
    if not files:
        raise UserError(f"{place} holds no text file ({known}), subfolders included; name another folder")
    return files


def _decoded_lines(path: Path, raw: BinaryIO) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of a plain or gzip file."""
    number, offset = 0, 0
    stream: BinaryIO = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw  # type: ignore[assignment]
    try:
        for number, line in enumerate(stream, 1):
            text = str(line, "utf-8")
            yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
            offset += len(line)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: byte 0x{error.object[error.start]:02x} at offset {offset + error.start} of the text"
            " is not UTF-8; convert the file with: iconv -f ITS_ENCODING -t UTF-8"
        ) from error
    except gzip.BadGzipFile as error:
        raise UserError(
            f"{path}: ends in .gz but is not sound gzip after line {number} ({error}); compress it again or rename it"
        ) from error
    except (EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: the gzip data is truncated or damaged after line {number} ({error}); copy the file again"
        ) from error


def _from_text(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Document]:
    start = 0
    document: list[str] = []
    for number, line in lines:
        if stripped := line.strip():
            start = start if document else number
            document.append(stripped)
        elif document:
            yield Document(f"{path}:{start}", tuple(document))
            document = []
    if document:
        yield Document(f"{path}:{start}", tuple(document))


def _json_text(line: str, field: str, place: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: not JSON: {error.msg} at column {error.colno}; a .jsonl file has one object a line"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 10,000 nested brackets
        raise UserError(f"{place}: JSON that cannot be read: {error}; leave the line out") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: holds {type(row).__name__}, must be an object with the field {field!r}")
    if field not in row:
        raise UserError(
            f"{place}: the object has no field {field!r} (config.data.text_field); it has: {', '.join(row) or 'none'}"
        )
    text = row[field]
    if not isinstance(text, str):
        raise UserError(
            f"{place}: the field {field!r} holds {type(text).__name__}, must be text; set config.data.text_field"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{place}: the field {field!r} holds half a surrogate pair (\\u{ord(text[error.start]):04x}) at character"
            f" {error.start}, which is no Unicode text; write the line again"
        ) from error
    return text


# ---------------------------------------------------------------------------------------------
# TFDS
# ---------------------------------------------------------------------------------------------


class PreparedDataset:
    """A text feature of a dataset that TFDS has prepared on disk; nothing is downloaded."""

    def __init__(self, name: str, *, split: str, data_dir: str, text_field: str):
        self._builder = _open_builder(name, data_dir)
        self._name, self._split, self._text_field = name, split, text_field
        _check_text_feature(self._builder, text_field)
        try:
            self._split_info = self._builder.info.splits[split]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"config.data.split={split!r} is not in {self._builder.info.full_name}; it has:"
                f" {', '.join(self._builder.info.splits)} (and slices such as 'train[:10%]')"
            ) from error

    def identity(self) -> dict[str, Any]:
        files = []
        for path in self._split_info.filepaths:
            status = path.stat()
            files.append([str(path), status.length, status.mtime])
        return {
            "source": "tfds",
            "dataset": self._builder.info.full_name,
            "split": self._split,
            "text_field": self._text_field,
            "files": files,
        }

    def documents(self) -> Iterator[Document]:
        import tensorflow as tf
        import tensorflow_datasets as tfds

        dataset = self._builder.as_dataset(
            split=self._split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding({self._text_field: True}),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),  # files one by one
        )
        found = False
        place = f"{self._name}:{self._split}"
        examples = bar(
            dataset.as_numpy_iterator(),
            description=f"reading {place}",
            total=self._split_info.num_examples,
            unit="examples",
        )
        try:
            for index, example in enumerate(examples):
                lines = text_lines(self._decode(example[self._text_field], f"{place}:{index}"))
                if lines:
                    found = True
                    yield Document(f"{place}:{index}", lines)
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise UserError(
                f"{self._builder.data_path}: cannot be read: {reason}; prepare the dataset again"
            ) from error
        finally:
            examples.close()
        if not found:
            raise UserError(
                f"config.data.path={self._name!r} holds no text: the field {self._text_field!r} of the split"
                f" {self._split!r} is blank in all {self._split_info.num_examples} examples"
            )

    def _decode(self, text: bytes, place: str) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{place}: byte 0x{text[error.start]:02x} at offset {error.start} of the field {self._text_field!r}"
                " is not UTF-8; set config.data.text_field to a text feature"
            ) from error


def _open_builder(name: str, data_dir: str):
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # or TensorFlow takes the memory that JAX needs
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", name):
        raise UserError(f"config.data.path={name!r} must be name or name/config of a TFDS dataset")
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if data_dir and "://" not in data_dir and not folder.is_dir():
        raise UserError(f"config.data.tfds_dir={data_dir!r}: no such folder; mend the path")
    try:
        builder = tfds.builder(name, data_dir=os.path.expanduser(data_dir) or None, try_gcs=False)
    except ValueError as error:
        raise UserError(_unknown_dataset(name, folder, tfds.list_builders(), error)) from error
    if not builder.is_prepared():
        raise UserError(
            f"config.data.path={name!r} is not prepared in {builder.data_path}; run: tfds build {name}"
            f" --data_dir {folder}, or set config.data.tfds_dir to where it is"
        )
    return builder


def _unknown_dataset(name: str, folder: Path, known: list[str], error: ValueError) -> str:
    base, _, variant = name.partition(":")[0].partition("/")
    place = f"config.data.path={name!r}"
    if (folder / base).is_dir():
        held = sorted(str(p.parent.relative_to(folder)) for p in (folder / base).glob("**/dataset_info.json"))
        return f"{place} is not prepared in {folder}, which holds: {', '.join(held) or 'no such dataset'}"
    if base in known:
        reason = " ".join(str(error).partition("Here are")[0].split())[:300]
        return f"{place}: TFDS knows {base!r} but not {variant!r}: {reason}"
    close = difflib.get_close_matches(base, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; mend the name or set config.data.tfds_dir"
    return f"{place} is neither a dataset that TFDS knows nor prepared in {folder}{hint}"


def _check_text_feature(builder, field: str) -> None:
    import tensorflow as tf

    features = dict(sorted(builder.info.features.items()))  # TFDS's own order changes from run to run
    place = f"config.data.text_field={field!r}"
    if field not in features:
        raise UserError(
            f"{place} is not a feature of {builder.info.full_name}; it has: {', '.join(features)}"
        )
    texts = [name for name, kind in features.items() if kind.shape == () and kind.tf_dtype == tf.string]
    if field not in texts:
        raise UserError(
            f"{place} of {builder.info.full_name} is {features[field]!r}, must be text; text features:"
            f" {', '.join(texts) or 'none'}"
        )
