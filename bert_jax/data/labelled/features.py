"""Tokenised examples as arrays, one after the other; and their cache, named by what they are made of."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bert_jax import array_file, atomic

_log = logging.getLogger(__name__)
_FORMAT = 1
_PLAIN = ("tokens_T", "type_ids_T", "lengths_S", "examples_S")


@dataclasses.dataclass(frozen=True)
class Features:
    """S token sequences of T tokens in all, and what is learnt of each.

    A name in the three groups ends in its axes in a batch without B: "labels_P" holds one number a sequence and becomes
    the field labels_BP, "tags_L" one a token and becomes tags_BL; axes behind the first are those of the array.
    """

    tokens_T: np.ndarray
    """int32, [CLS] first in each sequence"""
    type_ids_T: np.ndarray
    """uint8"""
    lengths_S: np.ndarray
    """int32"""
    examples_S: np.ndarray
    """int32, the example that a sequence is, or is a part or a window of"""
    of_sequences: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """[S, ...]"""
    of_tokens: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """[T, ...]; -1 where there is nothing to learn"""
    of_positions: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """[S], positions inside the sequence"""
    kept: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """[T] or [S, ...], for the host alone"""
    parts: int = 1
    """sequences that lie in one row: 2 for two texts that are encoded apart"""
    cut: int = 0
    """examples that were longer than the limit, and lost their end"""

    @property
    def units(self) -> int:
        """What is drawn and packed as a whole: `parts` sequences each."""
        return len(self.lengths_S) // self.parts

    @property
    def lengths_U(self) -> np.ndarray:
        """Tokens of each unit."""
        return self.lengths_S.reshape(-1, self.parts).sum(axis=1)

    @property
    def starts_S(self) -> np.ndarray:
        """Where each sequence begins among the tokens."""
        return np.concatenate([[0], np.cumsum(self.lengths_S, dtype=np.int64)[:-1]])


_GROUPS = ("of_sequences", "of_tokens", "of_positions", "kept")


def cached(folder: Path, key: Mapping[str, object], make: Callable[[], Features]) -> Features:
    """The features that `make` gives for `key`, from the cache in `folder` or made and put there.

    A disk that refuses them costs the next run their time alone, and is a warning.

    key: everything that decides them: digests of the data and of the tokenizer, and the options.
    """
    name = hashlib.sha256(repr((_FORMAT, sorted(key.items()))).encode()).hexdigest()[:32]
    path = folder / f"{name}.npz"
    found = _read(path)
    if found is None:
        found = make()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic.binary_stream(path) as stream:
                np.savez(stream, **_arrays(found))  # type: ignore[arg-type]
        except OSError as error:
            _log.warning(
                "%s: cannot be written (%s): these features are not kept", path, error.strerror or error
            )
    return found


def _arrays(features: Features) -> dict[str, np.ndarray]:
    arrays = {name: getattr(features, name) for name in _PLAIN}
    arrays["parts_cut"] = np.array([features.parts, features.cut])
    for group in _GROUPS:
        arrays |= {f"{group}/{name}": array for name, array in getattr(features, group).items()}
    return arrays


def _read(path: Path) -> Features | None:
    """None: there is no such file, or it is damaged and is made again."""
    try:
        arrays = array_file.read_npz(path)
        groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in _GROUPS}
        for name, array in arrays.items():
            group, slash, own = name.partition("/")
            if slash:
                groups[group][own] = array
        parts, cut = arrays["parts_cut"].tolist()
        plain = {name: arrays[name] for name in _PLAIN}
    except (OSError, ValueError, KeyError):
        return None
    found = Features(**plain, **groups, parts=parts, cut=cut)  # type: ignore[arg-type]
    return found if _fit(found) else None


def _fit(features: Features) -> bool:
    """Whether the arrays have the sizes that they give each other."""
    lengths_S = features.lengths_S
    if lengths_S.ndim != 1 or (lengths_S < 1).any() or features.parts < 1 or len(lengths_S) % features.parts:
        return False
    tokens, sequences = int(lengths_S.sum()), len(lengths_S)
    of_tokens = [features.tokens_T, features.type_ids_T, *features.of_tokens.values()]
    of_sequences = [features.examples_S, *features.of_sequences.values(), *features.of_positions.values()]
    return (
        all(array.shape[:1] == (tokens,) for array in of_tokens)
        and all(array.shape[:1] == (sequences,) for array in of_sequences)
        and all(array.shape[:1] in ((tokens,), (sequences,)) for array in features.kept.values())
    )
