"""Text from a feature of a TFDS dataset, which TFDS downloads and prepares if it is missing.

TensorFlow is imported inside functions, so that importing this module stays light.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax.data.sources.blocks import BLOCK_BYTES, DOCUMENT_BYTES, RawBlock, ValuesBlock
from bert_jax.data.sources.cutting import group_values
from bert_jax.data.sources.entries import is_remote
from bert_jax.data.tensorflow import tensorflow
from bert_jax.errors import UserError

_ENTRY = re.compile(r"tfds:(?P<name>\w+(?:/[\w.+-]+)?(?::[\d.*]+)?):(?P<split>[A-Za-z_].*)")


class TfdsDataset:
    """One split, or slices of splits, of one dataset."""

    def __init__(self, entry: str, *, data_dir: str, text_field: str, source: int = 0, first: int = 0):
        """Opens `tfds:NAME[/CONFIG]:SPLIT`.

        Args:
          data_dir: where TFDS keeps datasets; empty: its own default.
          source: the entry's number among those of `data.path`. first: its number among all inputs.

        Raises:
          UserError: an unknown dataset, split or feature, or one that cannot be downloaded and prepared.
        """
        match = _ENTRY.fullmatch(entry)
        if not match:
            raise UserError(
                f"config.data.path={entry!r} must be tfds:NAME[/CONFIG]:SPLIT, such as tfds:imdb_reviews:train[:10%]"
            )
        self.name = entry
        self._dataset, self._split = match["name"], match["split"]
        self._text_field = text_field
        self._source, self._first = source, first
        self._builder = _open_builder(entry, self._dataset, data_dir)
        info = self._builder.info
        _check_text_feature(info, text_field)
        try:
            self._split_info = info.splits[self._split]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"config.data.path={entry!r}: the split {self._split!r} is not in {info.full_name}; it has:"
                f" {', '.join(info.splits)} (and slices such as train[:10%])"
            ) from error

    def identity(self) -> dict[str, Any]:
        return {
            "source": "tfds",
            "dataset": self._builder.info.full_name,
            "split": self._split,
            "text_field": self._text_field,
            "files": [_status(path) for path in self._split_info.filepaths],
        }

    def inputs(self) -> list[TfdsInput]:
        """The whole split is one input."""
        return [
            TfdsInput(
                name=f"{self._dataset}:{self._split}",
                size=sum(size for _, size, _ in map(_status, self._split_info.filepaths)),
                source=self._source,
                number=self._first,
                builder=self._builder,
                split=self._split,
                examples=self._split_info.num_examples,
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
    builder: Any
    split: str
    examples: int
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
                position=self.size * (group.first + len(group.values)) // max(1, self.examples),
                name=self.name,
                first=group.first,
                values=group.values,
            )

    def _values(self) -> Iterator[bytes]:
        tf = tensorflow()
        import tensorflow_datasets as tfds

        dataset = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding({self.text_field: True}),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),  # files one by one
        )
        try:
            for example in dataset.as_numpy_iterator():
                yield example[self.text_field]
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise UserError(
                f"{self.builder.data_path}: cannot be read: {reason}; prepare the dataset again"
            ) from error


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


def _open_builder(entry: str, name: str, data_dir: str) -> Any:
    tensorflow()  # before its datasets, which import it
    import tensorflow_datasets as tfds

    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if data_dir and not is_remote(data_dir) and not folder.is_dir():
        raise UserError(f"config.data.tfds_dir={data_dir!r}: no such folder; correct the path or create it")
    try:
        builder = tfds.builder(name, data_dir=os.path.expanduser(data_dir) or None, try_gcs=False)
    except ValueError as error:
        raise UserError(_unknown_dataset(entry, name, folder, tfds.list_builders(), error)) from error
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:  # each dataset's own code runs here
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"config.data.path={entry!r} is not prepared in {builder.data_path} and cannot be prepared there: {reason};"
                f" run on a machine that can: tfds build {name} --data_dir {folder}, or set config.data.tfds_dir"
            ) from error
    return builder


def _unknown_dataset(entry: str, name: str, folder: Path, known: list[str], error: ValueError) -> str:
    base, _, variant = name.partition(":")[0].partition("/")
    place = f"config.data.path={entry!r}"
    if (folder / base).is_dir():
        held = sorted(str(p.parent.relative_to(folder)) for p in (folder / base).glob("**/dataset_info.json"))
        return f"{place} is not prepared in {folder}, which holds: {', '.join(held) or 'no such dataset'}"
    if base in known:
        reason = " ".join(str(error).partition("Here are")[0].split())[:300]
        return f"{place}: TFDS knows {base!r} but not {variant!r}: {reason}"
    close = difflib.get_close_matches(base, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "; correct the name or set config.data.tfds_dir"
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
