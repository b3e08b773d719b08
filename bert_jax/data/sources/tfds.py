"""Text from a feature of a TFDS dataset, which TFDS downloads and prepares if it is missing.

TensorFlow is imported inside functions, so that importing this module stays light.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from bert_jax.data.sources.blocks import BLOCK_BYTES, DOCUMENT_BYTES, RawBlock, ValuesBlock
from bert_jax.data.sources.cutting import group_values
from bert_jax.data.sources.entries import is_remote
from bert_jax.data.tensorflow import tensorflow
from bert_jax.errors import UserError

_ENTRY = re.compile(r"tfds:(?P<name>\w+(?:/[\w.+-]+)?(?::[\d.*]+)?):(?P<split>[A-Za-z_].*)")


@dataclasses.dataclass(frozen=True)
class Split:
    """One split, or slices of splits, of a dataset that is prepared."""

    dataset: str  # NAME[/CONFIG][:VERSION]
    split: str
    builder: Any  # tfds.core.DatasetBuilder

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.dataset}:{self.split}"

    @property
    def info(self) -> Any:
        """tfds.core.DatasetInfo"""
        return self.builder.info

    @property
    def count(self) -> int:
        return self.info.splits[self.split].num_examples

    @property
    def files(self) -> list[Any]:
        return self.info.splits[self.split].filepaths

    def examples(self, fields: Collection[str]) -> Iterator[dict[str, Any]]:
        """The examples in order as NumPy values, of which only the named features are decoded.

        Raises:
          UserError: a file is missing or damaged.
        """
        tf = tensorflow()
        import tensorflow_datasets as tfds

        dataset = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(fields, True)),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),  # files one by one
        )
        try:
            yield from dataset.as_numpy_iterator()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise UserError(
                f"{self.builder.data_path}: cannot be read: {reason}; prepare the dataset again"
            ) from error


def open_split(entry: str, *, data_dir: str, place: str, option: str) -> Split:
    """Opens `tfds:NAME[/CONFIG]:SPLIT`; downloads and prepares the dataset if it is missing.

    Args:
      data_dir: where TFDS keeps datasets; empty: its own default.
      place: of the entry, for messages. option: the one that sets `data_dir`, for messages.

    Raises:
      UserError: an unknown dataset or split, or a dataset that cannot be downloaded and prepared.
    """
    match = _ENTRY.fullmatch(entry)
    if not match:
        raise UserError(f"{place} must be tfds:NAME[/CONFIG]:SPLIT, such as tfds:imdb_reviews:train[:10%]")
    builder = _open_builder(match["name"], data_dir, place=place, option=option)
    try:
        builder.info.splits[match["split"]]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{place}: the split {match['split']!r} is not in {builder.info.full_name}; it has:"
            f" {', '.join(builder.info.splits)} (and slices such as train[:10%])"
        ) from error
    return Split(match["name"], match["split"], builder)


class TfdsDataset:
    """The text of one split, or slices of splits, of one dataset."""

    def __init__(self, entry: str, *, data_dir: str, text_field: str, source: int = 0, first: int = 0):
        """Opens `tfds:NAME[/CONFIG]:SPLIT`.

        Args:
          data_dir: where TFDS keeps datasets; empty: its own default.
          source: the entry's number among those of `data.path`. first: its number among all inputs.

        Raises:
          UserError: an unknown dataset, split or feature, or one that cannot be downloaded and prepared.
        """
        self.name = entry
        self._text_field = text_field
        self._source, self._first = source, first
        self._split = open_split(
            entry, data_dir=data_dir, place=f"config.data.path={entry!r}", option="config.data.tfds_dir"
        )
        _check_text_feature(self._split.info, text_field)

    def identity(self) -> dict[str, Any]:
        return {
            "source": "tfds",
            "dataset": self._split.info.full_name,
            "split": self._split.split,
            "text_field": self._text_field,
            "files": [_status(path) for path in self._split.files],
        }

    def inputs(self) -> list[TfdsInput]:
        """The whole split is one input."""
        return [
            TfdsInput(
                name=self._split.name,
                size=sum(size for _, size, _ in map(_status, self._split.files)),
                source=self._source,
                number=self._first,
                split=self._split,
                text_field=self._text_field,
            )
        ]


@dataclasses.dataclass(frozen=True)
class TfdsInput:
    """The examples of a split in order. `size` is that of the files that hold them, in bytes."""

    name: str
    size: int
    source: int
    number: int
    split: Split
    text_field: str

    def blocks(self, *, block_bytes: int = BLOCK_BYTES, limit: int = DOCUMENT_BYTES) -> Iterator[RawBlock]:
        """Reads the split once. A text of more than `limit` bytes is left out and counted."""
        groups = group_values(self._values(), block_bytes=block_bytes, limit=limit)
        for number, group in enumerate(groups):
            yield ValuesBlock(
                source=self.source,
                input=self.number,
                number=number,
                skipped=group.skipped,
                position=self.size * (group.first + len(group.values)) // max(1, self.split.count),
                name=self.name,
                first=group.first,
                values=group.values,
            )

    def _values(self) -> Iterator[bytes]:
        for example in self.split.examples([self.text_field]):
            yield example[self.text_field]


def _status(path: Any) -> list[Any]:
    """[path, size in bytes, last change: ns since the epoch, or for remote files what the backend gives]."""
    try:
        if is_remote(str(path)):
            status = path.stat()
            return [str(path), status.length, status.mtime]
        local = os.stat(path)
        return [os.path.realpath(path), local.st_size, local.st_mtime_ns]
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror or error}; prepare the dataset again"
        ) from error


def _open_builder(name: str, data_dir: str, *, place: str, option: str) -> Any:
    tensorflow()  # before its datasets, which import it
    import tensorflow_datasets as tfds

    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if data_dir and not is_remote(data_dir) and not folder.is_dir():
        raise UserError(f"{option}={data_dir!r}: no such folder; correct the path or create it")
    try:
        builder = tfds.builder(name, data_dir=os.path.expanduser(data_dir) or None, try_gcs=False)
    except ValueError as error:
        raise UserError(
            _unknown_dataset(name, folder, tfds.list_builders(), error, place=place, option=option)
        ) from error
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:  # each dataset's own code runs here
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"{place} is not prepared in {builder.data_path} and cannot be prepared there: {reason};"
                f" run on a machine that can: tfds build {name} --data_dir {folder}, or set {option}"
            ) from error
    return builder


def _unknown_dataset(
    name: str, folder: Path, known: list[str], error: ValueError, *, place: str, option: str
) -> str:
    base, _, variant = name.partition(":")[0].partition("/")
    if (folder / base).is_dir():
        held = sorted(str(p.parent.relative_to(folder)) for p in (folder / base).glob("**/dataset_info.json"))
        return f"{place} is not prepared in {folder}, which holds: {', '.join(held) or 'no such dataset'}"
    if base in known:
        reason = " ".join(str(error).partition("Here are")[0].split())[:300]
        return f"{place}: TFDS knows {base!r} but not {variant!r}: {reason}"
    close = difflib.get_close_matches(base, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; correct the name or set {option}"
    return f"{place}: {base!r} is neither a dataset that TFDS knows nor prepared in {folder}{hint}"


def _check_text_feature(info: Any, field: str) -> None:
    tf = tensorflow()
    features = dict(sorted(info.features.items()))  # TFDS's own order changes from process to process
    place = f"config.data.text_field={field!r}"
    if field not in features:
        raise UserError(f"{place} is not a feature of {info.full_name}; it has: {', '.join(features)}")
    texts = [name for name, kind in features.items() if kind.shape == () and kind.tf_dtype == tf.string]
    if field not in texts:
        raise UserError(
            f"{place} of {info.full_name} is {features[field]!r}, must be text; text features:"
            f" {', '.join(texts) or 'none'}"
        )
