"""Rows of a batch as text: predicted tokens and their originals, segments, packed examples, labels.

Every mark is a sign as well as a colour, so that rows can be read in a log and by the colour-blind:

    [MASK]‹cat›   masked; the text has "cat"
    dog‹≠cat›     replaced by a random vocabulary entry; the text has "cat"
    cat‹=›        predicted, but shown unchanged
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tokenizers import decoders

from bert_jax.batch import Batch
from bert_jax.config import DataConfig
from bert_jax.text.tokenizer import Tokenizer

Mark = Literal["", "special", "masked", "random", "kept"]

LEGEND: tuple[tuple[str, Mark, str], ...] = (
    ("[MASK]‹cat›", "masked", "masked, the text has cat"),
    ("dog‹≠cat›", "random", "random entry, the text has cat"),
    ("cat‹=›", "kept", "predicted, shown unchanged"),
)
_STYLES: dict[Mark, str] = {
    "": "",
    "special": "dim",
    "masked": "black on bright_cyan",
    "random": "black on bright_yellow",
    "kept": "black on bright_magenta",
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """A token as it is shown; `original` is the token of the text, where it is predicted."""

    text: str
    mark: Mark = ""
    original: str = ""

    def __str__(self) -> str:
        signs = {"masked": f"‹{self.original}›", "random": f"‹≠{self.original}›", "kept": "‹=›"}
        return self.text + signs.get(self.mark, "")


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a row: its pair label in words ("" if the objective has none), its tokens by segment."""

    label: str
    segments: tuple[tuple[str, tuple[Piece, ...]], ...]
    """("A", pieces) and, for a pair, ("B", pieces)."""

    @property
    def tokens(self) -> int:
        return sum(len(pieces) for _, pieces in self.segments)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its global number in the run, its examples, and its padding."""

    number: int
    examples: tuple[Example, ...]
    padding: int
    predictions: int

    @property
    def title(self) -> str:
        tokens = sum(example.tokens for example in self.examples)
        several = f"{len(self.examples)} examples, " if len(self.examples) > 1 else ""
        padding = f" + {self.padding} padding" if self.padding else ""
        return f"row {self.number}: {several}{tokens} tokens{padding}, {self.predictions} predicted"

    def parts(self) -> Iterator[tuple[str, tuple[tuple[str, tuple[Piece, ...]], ...]]]:
        """(heading, segments) of each example; the heading has its label and, in a packed row, its number and size."""
        for number, example in enumerate(self.examples, start=1):
            size = f"example {number}: {example.tokens} tokens" if len(self.examples) > 1 else ""
            yield ", ".join(part for part in (size, example.label) if part), example.segments


def decode_rows(batch: Batch, rows: Iterable[int], tokenizer: Tokenizer, data: DataConfig) -> list[Row]:
    """The `rows` of a batch, by their number in it."""
    return [_decode_row(batch, int(b), tokenizer, data) for b in rows]


def _decode_row(batch: Batch, b: int, tokenizer: Tokenizer, data: DataConfig) -> Row:
    ids_L, types_L, packs_L = (batch[name][b] for name in ("tokens_BL", "type_ids_BL", "pack_ids_BL"))
    used_M = batch["mlm_weights_BM"][b] > 0
    positions = batch["mlm_positions_BM"][b][used_M].tolist()
    targets = dict(zip(positions, batch["mlm_targets_BM"][b][used_M].tolist(), strict=True))
    pieces = [_piece(int(index), targets.get(place), tokenizer) for place, index in enumerate(ids_L)]
    examples = []
    for p in range(int(packs_L.max())):
        (places,) = np.nonzero(packs_L == p + 1)
        segments = tuple(
            (letter, tuple(pieces[place] for place in places if types_L[place] == kind))
            for kind, letter in enumerate("AB")
            if (types_L[places] == kind).any()
        )
        label = int(batch["pair_labels_BP"][b, p]) if batch["pair_weights_BP"][b, p] > 0 else -1
        examples.append(Example(label_words(label, data), segments))
    number = int(batch["example_ids_B"][b])
    return Row(number, tuple(examples), int((packs_L == 0).sum()), len(positions))


def label_words(label: int, data: DataConfig) -> str:
    """The meaning of label 1, 0 or -1 (unlabelled); "" where the objective has no labels."""
    if data.sentence_objective == "none":
        return ""
    if label < 0:
        return "unlabelled"
    if data.sentence_objective == "nsp":
        return "B is from another document" if label else "B is the next text"
    if label and "lone_is_random" in data.quirks:
        return "swapped, or B is from another document"
    return "swapped" if label else "in order"


def _piece(index: int, target: int | None, tokenizer: Tokenizer) -> Piece:
    special = tokenizer.special
    text = _readable(index, tokenizer)
    if target is None:
        is_special = index in (special.pad, special.cls, special.sep, special.mask)
        return Piece(text, "special" if is_special else "")
    if index == special.mask:
        return Piece(text, "masked", _readable(target, tokenizer))
    if index == target:
        return Piece(text, "kept", text)
    return Piece(text, "random", _readable(target, tokenizer))


def _readable(index: int, tokenizer: Tokenizer) -> str:
    """The vocabulary entry; of a byte-level vocabulary its text, with Ġ for a leading space."""
    token = tokenizer.token(index)
    if isinstance(tokenizer.backend.decoder, decoders.ByteLevel):
        text = tokenizer.decode([index])
        if "\N{REPLACEMENT CHARACTER}" not in text:  # otherwise it is part of a character
            token = text.replace(" ", "Ġ")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in token)


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Prints the rows and a legend: wrapped on a terminal; elsewhere each segment is one line."""
    for row in rows:
        console.print(Text(row.title, style="bold"), soft_wrap=not console.is_terminal)
        for lead, text in _lines(row):
            if console.is_terminal:
                grid = Table.grid(padding=(0, 1))
                grid.add_column(width=len(lead), no_wrap=True)
                grid.add_column(overflow="fold")
                grid.add_row(lead, text)
                console.print(grid)
            else:
                console.print(Text(f"{lead} ") + text, soft_wrap=True)
        console.print()
    signs = [Text.assemble((shown, _STYLES[mark]), f" {meaning}") for shown, mark, meaning in LEGEND]
    signs.append(Text.assemble("A ", ("B", "underline"), " the segments"))
    console.print(Text("   ").join(signs), soft_wrap=not console.is_terminal)


def _lines(row: Row) -> Iterator[tuple[str, Text]]:
    """(lead, text) of each line of a row."""
    for heading, segments in row.parts():
        if heading:
            yield " ", Text(heading, style="italic")
        for letter, pieces in segments:
            under = "underline " if letter == "B" else ""
            yield (
                f"  {letter}",
                Text(" ").join(
                    Text(str(piece), style=(under + _STYLES[piece.mark]).strip()) for piece in pieces
                ),
            )
