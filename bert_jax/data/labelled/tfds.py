"""A split of a TFDS dataset as a table: plain values, class numbers as names.

TensorFlow is imported inside functions, so that importing this module stays light.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from bert_jax.data.labelled.files import decode
from bert_jax.data.labelled.tables import Record, Table
from bert_jax.data.sources.tfds import Split, open_split


def open_tfds(entry: str, *, data_dir: str) -> Table:
    """Opens `tfds:NAME[/CONFIG]:SPLIT`. The columns are its features by name, in alphabetical order.

    Raises:
      UserError: an unknown dataset or split, or a dataset that cannot be prepared.
    """
    split = open_split(entry, data_dir=data_dir, place=repr(entry), option="tfds_dir")
    features = dict(sorted(split.info.features.items()))  # TFDS's own order changes from process to process
    labels = {name: tuple(names) for name, feature in features.items() if (names := _class_names(feature))}
    return Table(entry, tuple(features), lambda wanted: _records(split, features, wanted), labels)


def _records(split: Split, features: dict[str, Any], wanted: Collection[str]) -> Iterator[Record]:
    names = {name if name in features else name.partition(".")[0] for name in wanted}
    for number, example in enumerate(split.examples(sorted(names))):
        place = f"{split.name}:{number}"
        yield Record(place, {name: _plain(features[name], example[name], place) for name in names})


def _class_names(feature: Any) -> list[str]:
    """The names of a ClassLabel or of a sequence of them; [] for other features."""
    import tensorflow_datasets as tfds

    while isinstance(feature, tfds.features.Sequence):
        feature = feature.feature
    return list(feature.names) if isinstance(feature, tfds.features.ClassLabel) else []


def _plain(feature: Any, value: Any, place: str) -> Any:
    """A decoded value as Python's own; a class as its name; a class of -1 (no label) as None."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Sequence):
        inner = feature.feature
        if isinstance(inner, tfds.features.FeaturesDict):  # an object of lists
            return {name: [_plain(inner[name], item, place) for item in value[name]] for name in inner}
        return [_plain(inner, item, place) for item in value]
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: _plain(feature[name], value[name], place) for name in feature}
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.names[value] if value >= 0 else None
    if isinstance(value, bytes):
        return decode(value, place=place)
    plain = value.item()
    return (
        float(str(value)) if isinstance(plain, float) else plain
    )  # the float32 of 4.2 is 4.2, not 4.19999981
