"""Making the parameters of a loaded model fit another run's model, to go on pretraining from them.

What computes must be alike: depth, widths, heads, activation. What may differ are the tables' rows: the
vocabulary follows the tokens, positions and segment types are cut or grown; and heads come and go.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bert_jax.config.head import HeadConfig
from bert_jax.config.model import EXECUTION, ModelConfig
from bert_jax.config.options import walk
from bert_jax.errors import UserError
from bert_jax.interop.names import listed
from bert_jax.models.parameters import flatten, head, nest
from bert_jax.text.tokenizer import Tokenizer

# Fields that two models may differ in: names, and what is resized, taken or left here. The pooler's
# activation is compared where both have one.
_FREE = (
    "preset", "family", "vocab_size", "max_positions", "position_offset", "type_vocab_size", "pooler",
    "relative.mask_decoder", "mlm_head.tied", "head",
)  # fmt: skip
_OF_POSITIONS = {"disentangled": "relative.", "rotary": "rotary."}
"""The groups of options that say more of a kind of positions."""

_TOKEN = "bert/embeddings/token"


@dataclasses.dataclass(frozen=True)
class InitReport:
    """What of a source went into a run's parameters. Paths are ours, in groups such as "mlm_head"."""

    tensors: int
    """tensors that were taken, wholly or in part"""
    parameters: int
    """elements of the run's parameters that come from the source"""
    resized: tuple[str, ...]
    """a sentence for each table whose rows are not the source's"""
    fresh: Mapping[str, tuple[str, ...]]
    """the run's tensors that the source lacks"""
    left: Mapping[str, tuple[str, ...]]
    """the source's tensors that the run has no place for"""
    grown: tuple[str, ...] = ()
    """a sentence for each size in which the source is smaller"""
    unread: tuple[str, ...] = ()
    """the file's names of tensors that no model here has, such as a classifier's"""

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"taken: {self.tensors:,} tensors, {self.parameters:,} parameters"]
        lines += [f"grown: {line}" for line in self.grown]
        lines += [f"resized: {line}" for line in self.resized]
        for verb, groups in (("fresh", self.fresh), ("left", self.left)):
            lines += [f"{verb}: {group} ({len(paths):,} tensors)" for group, paths in groups.items()]
        return lines + ([f"left unread: {listed(self.unread)}"] if self.unread else [])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "taken": {"tensors": self.tensors, "parameters": self.parameters},
            "grown": list(self.grown),
            "resized": list(self.resized),
            "fresh": {group: list(paths) for group, paths in self.fresh.items()},
            "left": {group: list(paths) for group, paths in self.left.items()},
            "unread": list(self.unread),
        }


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Which row of the source each row of the run's table is; -1 where it stays fresh."""

    origin: np.ndarray
    manner: str = ""
    """how rows were matched, for the report: " by token" """

    def fill(self, fresh: np.ndarray, source: np.ndarray) -> np.ndarray:
        """`fresh` [R, ...] with the rows taken from `source` [rows, ...]."""
        taken = self.origin >= 0
        filled = fresh.copy()
        filled[taken] = source[self.origin[taken]]
        return filled

    def line(self, path: str, rows: int) -> str | None:
        """The sentence for a source of so many rows; None where each keeps its place."""
        if np.array_equal(self.origin, np.arange(rows)):
            return None
        taken = int((self.origin >= 0).sum())
        repeated = taken - len(np.unique(self.origin[self.origin >= 0]))
        counts = [f"{taken - repeated:,} taken{self.manner}"]
        counts += [f"{repeated:,} repeated"] if repeated else []
        counts += [f"{len(self.origin) - taken:,} fresh"] if taken < len(self.origin) else []
        return f"{path}: {rows:,} -> {len(self.origin):,} rows, {', '.join(counts)}"


def differences(config: ModelConfig, *, to: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """Field -> (value of `to`, of `config`) wherever `to` must be as `config` to take its parameters."""
    skipped = {*EXECUTION, *_FREE}
    if config.sharing == to.sharing == "none":
        skipped.add("groups")
    if "none" not in (config.pooler, to.pooler):
        skipped.remove("pooler")
    unread = tuple(
        group for kind, group in _OF_POSITIONS.items() if kind not in (config.positions, to.positions)
    )
    return {
        key: (ours, theirs)
        for (key, ours, _), (_, theirs, _) in zip(walk(to), walk(config), strict=True)
        if key not in skipped and not key.startswith(unread) and ours != theirs
    }


def check_architecture(config: ModelConfig, *, to: ModelConfig, place: str) -> None:
    """Raises `UserError`, one line with every field in which `to` must be as `config`, the model of `place`."""
    differing = differences(config, to=to)
    if differing:
        said = (
            f"config.model.{n}={_text(ours)} must be {_text(theirs)}"
            for n, (ours, theirs) in differing.items()
        )
        flags = (f"--config.model.{name}={_text(theirs)}" for name, (_, theirs) in differing.items())
        raise UserError(f"{', '.join(said)} as in {place}: set {' '.join(flags)}")


def is_same_task(one: HeadConfig, other: HeadConfig) -> bool:
    """Whether the outputs of two task heads mean the same, so that one may take the other's parameters."""
    return (one.kind, one.labels, one.hidden) == (other.kind, other.labels, other.hidden)


def adapt(
    params: Mapping[str, Any],
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    *,
    to: ModelConfig,
    to_tokenizer: Tokenizer | None,
    fresh: Mapping[str, Any],
    place: str,
) -> tuple[dict[str, Any], InitReport]:
    """The parameters of a run of `to`, taken from `params` wherever they fit.

    Vocabulary: with both tokenizers, the rows of the embedding and of the MLM head's bias follow the token's
    string, special tokens their role ([MASK] is <mask>); tokens that only the run has stay fresh. Without,
    rows follow their ids, and V must be equal.
    Positions: the first rows are taken; a longer table repeats them, which starts better than fresh rows
    (Beltagy et al. 2020, section 5). Position p is position p, whatever `position_offset` either has.
    Segment types: the rows that both have.
    Task head: taken by a run of the same kind, labels and hidden layer; one for anything else is left.

    Args:
      params, config, tokenizer: the source, as `interop.load` gives it; arrays of any kind.
      to, to_tokenizer: the run's.
      fresh: the run's nested parameters, initialised; float32 NumPy. What is not taken stays so.
      place: the source's name for messages.

    Returns:
      A tree like `fresh`, and what was done.

    Raises:
      UserError: the two compute different functions; vocabularies that cannot be matched.
    """
    check_architecture(config, to=to, place=place)
    source, wanted = _with_transform(_flat(params), config, to), _flat(fresh)
    fitting = {
        path
        for path in source
        if head(path) != "task_head" or to.head.hidden == "transform" or is_same_task(config.head, to.head)
    }
    words = _vocabulary(config, tokenizer, to, to_tokenizer, place)
    tables = {
        _TOKEN: words,
        "mlm_head/bias": words,
        "bert/embeddings/position": _positions(config, to),
        "bert/embeddings/type": _common(config.type_vocab_size, to.type_vocab_size),
    }
    made, parameters = dict(wanted), 0
    resized = [None if tokenizer else f"{_TOKEN}: rows taken by id, for {place} has no tokenizer"]
    shared = wanted.keys() & fitting
    for path in sorted(shared):
        theirs, ours = source[path], wanted[path]
        rows = tables.get(path) or _Rows(np.arange(len(theirs)))
        if (len(rows.origin), *theirs.shape[1:]) != ours.shape:
            raise UserError(
                f"{place}: {path} has shape {theirs.shape}, the run's is {ours.shape}: the source's"
                " parameters are not those of its config"
            )
        made[path] = rows.fill(ours, theirs)
        parameters += int((rows.origin >= 0).sum()) * ours[:1].size
        resized.append(rows.line(path, len(theirs)))
    report = InitReport(
        tensors=len(shared),
        parameters=parameters,
        resized=tuple(sorted(line for line in resized if line)),
        fresh=_grouped(wanted.keys() - shared),
        left=_grouped(source.keys() - shared),
    )
    return nest(made), report


_TRANSFORM = {"mlm_head/dense/": "task_head/dense/", "mlm_head/layer_norm/": "task_head/norm/"}


def _with_transform(
    source: dict[str, np.ndarray], config: ModelConfig, to: ModelConfig
) -> dict[str, np.ndarray]:
    """The source with the start of its MLM head as that of a task head which begins from there, where it is as wide."""
    if to.head.hidden != "transform" or config.embedding_size or is_same_task(config.head, to.head):
        return source
    encoder = {path: leaf for path, leaf in source.items() if head(path) != "task_head"}
    for old, new in _TRANSFORM.items():
        moved = {path: leaf for path, leaf in encoder.items() if path.startswith(old)}
        encoder = {path: leaf for path, leaf in encoder.items() if path not in moved}
        encoder |= {new + path.removeprefix(old): leaf for path, leaf in moved.items()}
    return encoder


def _vocabulary(
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    to: ModelConfig,
    to_tokenizer: Tokenizer | None,
    place: str,
) -> _Rows:
    if tokenizer is None or to_tokenizer is None:
        if config.vocab_size != to.vocab_size:
            raise UserError(
                f"{place}: no tokenizer in it, so its vocab_size={config.vocab_size} must equal the run's"
                f" {to.vocab_size}: put its tokenizer.json, vocab.txt or .model there, and rows follow tokens"
            )
        return _Rows(np.arange(to.vocab_size))
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{place}: its tokenizer has {tokenizer.vocab_size} entries, its model vocab_size="
            f"{config.vocab_size}: tokenizer and weights must come from the same model"
        )
    theirs, ours = tokenizer.backend.get_vocab(), to_tokenizer.backend.get_vocab()
    if theirs == ours and tokenizer.names == to_tokenizer.names and config.vocab_size == to.vocab_size:
        return _Rows(np.arange(to.vocab_size))
    origin = np.full(to.vocab_size, -1)
    for token, row in ours.items():
        origin[row] = theirs.get(token, -1)
    for role in to_tokenizer.names:
        origin[getattr(to_tokenizer.special, role)] = getattr(tokenizer.special, role)
    return _Rows(origin, " by token")


def _positions(config: ModelConfig, to: ModelConfig) -> _Rows:
    origin = np.full(to.position_rows, -1)
    origin[to.position_offset :] = config.position_offset + np.arange(to.max_positions) % config.max_positions
    before = min(config.position_offset, to.position_offset)  # counted back from position 0
    origin[to.position_offset - before : to.position_offset] = np.arange(
        config.position_offset - before, config.position_offset
    )
    return _Rows(origin)


def _common(rows: int, to_rows: int) -> _Rows:
    return _Rows(np.where(np.arange(to_rows) < rows, np.arange(to_rows), -1))


def _flat(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf, np.float32) for path, leaf in flatten(tree).items()}


def _grouped(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By "bert/embeddings", "bert/encoder", "bert/pooler" or head."""
    groups = collections.defaultdict(list)
    for path in sorted(paths):
        first, second, *_ = path.split("/")
        groups[f"bert/{second}" if first == "bert" else first].append(path)
    return {group: tuple(members) for group, members in groups.items()}


def _text(value: Any) -> str:
    """As the command line takes it."""
    return ",".join(value) if isinstance(value, tuple) else str(value)
