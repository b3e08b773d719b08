"""What was counted, as tables on the terminal and as a page."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as Drawn

from bert_jax import html
from bert_jax.compilers.cost import Line
from bert_jax.compilers.roofline import Part


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells in rows; the first `words` columns hold words, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1


def show(tables: Iterable[Table]) -> None:
    """Prints tables."""
    console = Console(highlight=False)
    for table in tables:
        drawn = Drawn(title=table.title, title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(table.header):
            drawn.add_column(name, justify="left" if place < table.words else "right")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn, soft_wrap=not console.is_terminal)
        console.print()


def page(title: str, tables: Iterable[Table]) -> str:
    """A page of tables."""
    body: list[str] = []
    for table in tables:
        body += [html.element("h2", table.title), html.table(table.header, table.rows, words=table.words)]
    return html.page(title, *body)


def tables(
    values: Mapping[str, Any], lines: Sequence[Line], parts: Sequence[Part], *, heaviest: int
) -> list[Table]:
    """What a chip does in a step: by its parts, its memory, by kind of work, between chips, the heaviest instructions.

    values: see `benchmarks.compile.measure`. heaviest: instructions to list; 0: no list.
    """
    size, length = values["batch"]
    title = (
        f"A chip's share of a step: {values['model']} on {values['target']}, batch {size} of rows of {length}"
    )
    found = [
        Table(title, ("part", "", "amount", "its rate, a second", "ms"), _parts(values, parts), words=2),
        Table("Memory of a chip", ("", "GiB"), _memory(values)),
        Table("By kind", ("kind", "matrix FLOP", "vector ops", "HBM B", "of all %"), _kinds(lines)),
    ]
    if together := _collectives(lines):
        found.append(
            Table("Between chips", ("operation", "kind", "chips", "times", "B sent"), together, words=2)
        )
    if heaviest:
        header = ("kind", "operation", "result", "times", "matrix FLOP", "HBM B")
        found.append(Table("What moves most", header, _heaviest(lines, heaviest), words=3))
    return found


def comparison(values: Mapping[str, Any], baseline: str) -> Table:
    """A step beside the baseline's, and how many times as much the baseline's takes.

    values: see `benchmarks.compile.measure`, with a baseline.
    """
    names = {
        "flops": "matrix FLOP",
        "vector_ops": "vector ops",
        "hbm_bytes": "HBM B",
        "temporary_bytes": "temporaries B",
        "needed_bytes": "all memory B",
        "collective_bytes": "sent B",
        "bound_ms": "bound ms",
    }
    rows = [
        (name, _scaled(ours), _scaled(theirs), f"{theirs / ours:.2f}" if ours else "")
        for key, name in names.items()
        for ours, theirs in [(values[key], values["peer"][key])]
    ]
    bounds = ("bound by", values["bound_by"], values["peer"]["bound_by"], "")
    return Table(f"A step beside that of {baseline}", ("", "native", baseline, "ratio"), [*rows, bounds])


def _parts(values: Mapping[str, Any], parts: Sequence[Part]) -> list[tuple[str, ...]]:
    bound = f"the bound: {100 * values['mfu_at_bound']:.1f} % MFU"
    return [
        (
            part.name,
            bound if part.name == values["bound_by"] else "",
            _scaled(part.amount, part.unit),
            _scaled(part.rate, part.unit),
            f"{part.milliseconds:.2f}",
        )
        for part in parts
    ]


def _memory(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    names = {
        "argument_bytes": "state and batch",
        "temporary_bytes": "temporaries",
        "needed_bytes": "all that the program needs",
        "memory_bytes": "the chip has",
    }
    return [(name, f"{values[key] / 2**30:.4g}") for key, name in names.items()]


def _kinds(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    total = sum(line.hbm_bytes for line in lines) or 1
    sums = _summed((line.kind, (line.hbm_bytes, line.matrix_flops, line.vector_ops)) for line in lines)
    return [
        (kind, _scaled(flops), _scaled(ops), _scaled(moved), f"{100 * moved / total:.1f}")
        for kind, (moved, flops, ops) in sums
    ]


def _collectives(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    sums = _summed(
        ((line.collective, line.kind, len(line.group)), (line.collective_bytes, line.trips))
        for line in lines
        if line.collective
    )
    return [
        (operation, kind, f"{chips}", f"{times}", _scaled(sent))
        for (operation, kind, chips), (sent, times) in sums
    ]


def _heaviest(lines: Sequence[Line], limit: int) -> list[tuple[str, ...]]:
    """Instructions of one kind, operation and result together."""
    sums = _summed(
        (
            (line.kind, _operation(line), str(line.instruction.shape)),
            (line.hbm_bytes, line.trips, line.matrix_flops),
        )
        for line in lines
    )
    return [
        (kind, operation[:48], shape[:48], f"{times}", _scaled(flops), _scaled(moved))
        for (kind, operation, shape), (moved, times, flops) in sums[:limit]
    ]


def _operation(line: Line) -> str:
    """What the program asked for, in which scope: "backward mlp/dot_general"; what it did not, by its opcode."""
    name = line.instruction.op_name
    scopes = [part for part in name.split("/") if not re.match(r"(transpose\(|jvp\(|jit\()", part)]
    return ("backward " if "transpose(" in name else "") + ("/".join(scopes[-2:]) or line.instruction.opcode)


def _summed(amounts: Iterable[tuple[Any, tuple[float, ...]]]) -> list[tuple[Any, tuple[float, ...]]]:
    """The sums of each key, those with the largest first amount at the top."""
    of_key: dict[Hashable, list[tuple[float, ...]]] = collections.defaultdict(list)
    for key, each in amounts:
        of_key[key].append(each)
    sums = ((key, tuple(map(sum, zip(*every, strict=True)))) for key, every in of_key.items())
    return sorted(sums, key=lambda item: -item[1][0])


def _scaled(amount: float, unit: str = "") -> str:
    """Four digits, with a letter for thousands, millions, ...: "17.9 TFLOP"."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if amount >= factor:
            return f"{amount / factor:.4g} {letter}{unit}"
    return f"{amount:.4g} {unit}".strip()
