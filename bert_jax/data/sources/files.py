"""Text from files: `.txt` (blank lines end documents), `.jsonl` (one document per line) and `.parquet` (one document per
row of the table), plain, gzip or zstd, local or in remote storage; found by path, folder or glob."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from bert_jax.data.sources import streams
from bert_jax.data.sources.blocks import (
    BLOCK_BYTES,
    DOCUMENT_BYTES,
    JsonlBlock,
    RawBlock,
    TextBlock,
    ValuesBlock,
)
from bert_jax.data.sources.cutting import Cutter, after_last_blank_line, after_last_line
from bert_jax.data.sources.entries import is_remote
from bert_jax.data.sources.parquet import column_groups
from bert_jax.errors import UserError

_log = logging.getLogger(__name__)

ENDINGS = tuple(kind + packed for packed in ("", ".gz", ".zst") for kind in (".txt", ".jsonl", ".parquet"))


class TextFiles:
    """The files that one entry of `data.path` names, sorted, each once."""

    def __init__(
        self, entry: str, *, text_field: str, source: int = 0, first: int = 0, taken: Collection[str] = ()
    ):
        """Finds the files.

        Args:
          source: the entry's number among those of `data.path`. first: the first file's among all inputs.
          taken: files of earlier entries (their `files`), which are left out.

        Raises:
          UserError: no file, or one that is missing, cannot be read or has an unknown ending.
        """
        self.name = entry
        self._text_field = text_field
        self._source, self._first = source, first
        find = _find_remote if is_remote(entry) else _find_local
        paths, hidden = find(entry)
        if hidden:
            count = f"{len(hidden)} hidden file{'s' if len(hidden) > 1 else ''}"
            _log.info("config.data.path=%r: %s passed over, such as %s", entry, count, min(hidden))
        found = {_real(path): path for path in sorted(paths, reverse=True)}
        self.files = {real: path for real, path in sorted(found.items()) if real not in taken}
        if not self.files:
            raise UserError(
                f"config.data.path: the entry {entry!r} names no file that an earlier entry does not name; remove it"
            )
        for path in self.files.values():
            _status(path)

    def identity(self) -> dict[str, Any]:
        files = [[real, *_status(path)] for real, path in self.files.items()]
        return {"source": "files", "text_field": self._text_field, "files": files}

    def inputs(self) -> list[FileInput]:
        """The files in order."""
        return [
            FileInput(
                name=path,
                size=_status(path)[0],
                source=self._source,
                number=number,
                text_field=self._text_field,
            )
            for number, path in enumerate(self.files.values(), self._first)
        ]


@dataclasses.dataclass(frozen=True)
class FileInput:
    """One file. `size` is in bytes on disk."""

    name: str
    size: int
    source: int
    number: int
    text_field: str

    def blocks(self, *, block_bytes: int = BLOCK_BYTES, limit: int = DOCUMENT_BYTES) -> Iterator[RawBlock]:
        """Reads the file once. A document of more than `limit` bytes is left out or cut, and counted."""
        try:
            with streams.open_raw(self.name) as raw:
                if _kind(self.name) == ".parquet":
                    yield from self._value_blocks(raw, block_bytes=block_bytes, limit=limit)
                else:
                    yield from self._line_blocks(raw, block_bytes=block_bytes, limit=limit)
        except OSError as error:  # of opening it; errors of reading have messages of their own
            raise streams.file_fault(self.name, error) from error

    def _line_blocks(self, raw: Any, *, block_bytes: int, limit: int) -> Iterator[RawBlock]:
        is_text = _kind(self.name) == ".txt"
        block = TextBlock if is_text else JsonlBlock
        last_end = after_last_blank_line if is_text else after_last_line
        with streams.decompressed(self.name, raw) as stream:
            cutter = Cutter(stream, last_end, block_bytes=block_bytes, limit=limit)
            pieces = enumerate(cutter)
            while True:
                try:
                    number, piece = next(pieces)
                except StopIteration:
                    return
                except streams.READ_FAULTS as error:
                    raise streams.read_fault(self.name, error, lines=cutter.lines_read) from error
                yield block(
                    source=self.source,
                    input=self.number,
                    number=number,
                    skipped=piece.skipped,
                    position=raw.tell(),
                    name=self.name,
                    data=piece.data,
                    line=piece.line,
                    offset=piece.offset,
                )

    def _value_blocks(self, raw: Any, *, block_bytes: int, limit: int) -> Iterator[RawBlock]:
        groups = column_groups(self.name, raw, self.text_field, block_bytes=block_bytes, limit=limit)
        for number, (group, rows) in enumerate(groups):
            yield ValuesBlock(
                source=self.source,
                input=self.number,
                number=number,
                skipped=group.skipped,
                position=self.size * (group.first + len(group.values)) // max(1, rows),
                name=self.name,
                first=group.first,
                values=group.values,
            )


def _kind(path: str) -> str:
    """The ending, without that of the compression."""
    name = Path(path)
    return Path(name.stem).suffix if name.suffix in (".gz", ".zst") else name.suffix


def _real(path: str) -> str:
    return path if is_remote(path) else os.path.realpath(path)


def _status(path: str) -> tuple[int, int]:
    """(size in bytes, last change: ns since the epoch, or for remote files what the backend gives).

    Raises:
      UserError: the file is missing, or this user may not read it.
    """
    try:
        status: Any
        if is_remote(path):
            status = streams.remote_path(path).stat()
            return status.length, status.mtime
        status = os.stat(path)
        if not os.access(path, os.R_OK):
            raise PermissionError(None, "Permission denied")
        return status.st_size, status.st_mtime_ns
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not is_remote(path):
            raise streams.file_fault(path, error) from error
        raise streams.remote_fault(path, error) from error


# ---------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------


_Found = tuple[list[str], set[str]]
"""The files that an entry names, and the hidden text files among them, which are passed over."""

_MACOSX = "__MACOSX"  # where archives made on macOS keep what belongs to its own file system


def _is_hidden(parts: Iterable[str]) -> bool:
    """Whether a file is a copy or a note of another program, such as .ipynb_checkpoints/a.txt, by the parts of its
    path below the folder that was named."""
    return any(part.startswith(".") or part == _MACOSX for part in parts)


def _find_local(entry: str) -> _Found:
    place = f"config.data.path={entry!r}"
    path = Path(entry).expanduser()
    candidates, hidden = [path], set[str]()
    if not path.exists() and glob.has_magic(entry):
        shown = set(glob.glob(str(path), recursive=True))  # hidden names only where the glob has their dot
        if _MACOSX not in path.parts:
            shown = {match for match in shown if _MACOSX not in Path(match).parts}
        every = glob.glob(str(path), recursive=True, include_hidden=True)
        if not every:
            raise UserError(f"{place} matches nothing in {Path.cwd()}; correct the glob")
        candidates = [Path(match) for match in shown]
        hidden.update(str(file) for match in set(every) - shown for file in _text_files(Path(match)))
    elif not path.exists():
        raise UserError(f"{place}: no such file or folder (looked in {Path.cwd()}); correct the path")
    files = [str(candidate) for candidate in candidates if not candidate.is_dir()]
    _check_endings(place, files)
    for folder in (candidate for candidate in candidates if candidate.is_dir()):
        for file in _text_files(folder):
            if _is_hidden(file.relative_to(folder).parts):
                hidden.add(str(file))
            else:
                files.append(str(file))
    return _some(place, files, hidden), hidden


def _text_files(path: Path) -> Iterator[Path]:
    """The files that can be read at or below `path`."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.name.endswith(ENDINGS) and file.is_file():
            yield file


def _find_remote(entry: str) -> _Found:
    place = f"config.data.path={entry!r}"
    hidden = set[str]()
    try:
        if glob.has_magic(entry):
            every = _remote_glob(entry)
            if not every:
                raise UserError(f"{place} matches nothing; correct the glob")
            shown = every if _is_hidden(entry.split("/")) else [c for c in every if not _is_hidden([c.name])]
            hidden.update(str(c) for c in every if c not in shown and c.name.endswith(ENDINGS))
            candidates = shown
        else:
            candidates = [streams.remote_path(entry)]
            if not (candidates[0].exists() or candidates[0].is_dir()):
                raise UserError(f"{place}: no such file or folder; correct the path")
        files = [str(candidate) for candidate in candidates if not candidate.is_dir()]
        _check_endings(place, files)
        for folder in (candidate for candidate in candidates if str(candidate) not in files):
            for file in map(str, _below(folder)):
                if _is_hidden(file.removeprefix(str(folder)).split("/")):
                    hidden.add(file)
                else:
                    files.append(file)
    except UserError:
        raise
    except Exception as error:  # TensorFlow, fsspec and each cloud's client have their own
        raise streams.remote_fault(entry, error) from error
    return _some(place, files, hidden), hidden


def _remote_glob(entry: str) -> list[Any]:
    if "**" in entry:
        raise UserError(
            f"config.data.path={entry!r}: '**' works for local files only; name the folder, whose subfolders are"
            " searched too"
        )
    scheme, _, rest = entry.partition("://")
    parts = rest.split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    if not fixed:
        raise UserError(f"config.data.path={entry!r}: the bucket must be named; correct the glob")
    folder = streams.remote_path(f"{scheme}://{'/'.join(parts[:fixed])}")
    return list(folder.glob("/".join(parts[fixed:])))


def _below(folder: Any) -> Iterator[Any]:
    """The files under a remote folder that can be read; each subfolder costs a request."""
    for child in folder.iterdir():
        if child.name.endswith(ENDINGS):
            yield child
        elif child != folder and child.is_dir():
            yield from _below(child)


def _check_endings(place: str, files: list[str]) -> None:
    for file in files:
        if not file.endswith(ENDINGS):
            raise UserError(
                f"{place}: {file} must end in one of {', '.join(ENDINGS)}; rename it or remove it"
            )


def _some(place: str, files: list[str], hidden: Collection[str]) -> list[str]:
    if not files:
        known = ", ".join(ENDINGS)
        but = f" but {len(hidden)} that are hidden, such as {min(hidden)}" if hidden else ""
        raise UserError(
            f"{place} holds no text file ({known}), subfolders included{but}; name another folder"
        )
    return files
