"""What was counted, as tables on the terminal and as a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bert_jax import html
from bert_jax.compilers.cost import Line
from bert_jax.compilers.roofline import Part

_Rows = list[tuple[str, ...]]


def show(values: Mapping[str, Any], lines: Sequence[Line], found: Sequence[Part], *, heaviest: int) -> None:
    """Prints the tables."""
    console = Console(highlight=False)
    for title, header, rows in _tables(values, lines, found, heaviest=heaviest):
        drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(header):
            drawn.add_column(
                name, justify="left" if place in (0, len(header) - 1) and _is_text(rows, place) else "right"
            )
        for row in rows:
            drawn.add_row(*row)
        console.print(drawn, soft_wrap=not console.is_terminal)
        console.print()


def page(values: Mapping[str, Any], lines: Sequence[Line], found: Sequence[Part], *, heaviest: int) -> str:
    """A page of the same tables."""
    body: list[str] = []
    for title, header, rows in _tables(values, lines, found, heaviest=heaviest):
        body += [html.element("h2", title), html.table(header, rows)]
    return html.page(f"{values['model']} compiled for {values['target']}", *body)


def _is_text(rows: _Rows, place: int) -> bool:
    return any(re.search("[a-z]", row[place]) for row in rows)


def _tables(
    values: Mapping[str, Any], lines: Sequence[Line], found: Sequence[Part], *, heaviest: int
) -> list[tuple[str, tuple[str, ...], _Rows]]:
    """(title, header, rows) of each table."""
    batch = f"batch {values['batch'][0]} of rows of {values['batch'][1]}"
    tables = [
        (
            f"One step of {values['model']} on {values['target']}, {batch}: what a chip does",
            ("part", "amount", "at most, a second", "ms", ""),
            _part_rows(values, found),
        ),
        ("Memory of a chip", ("", "GiB"), _memory_rows(values)),
        ("By kind", ("kind", "matrix TFLOP", "vector Gop", "HBM GB", "HBM %"), _kind_rows(lines)),
    ]
    if collectives := _collective_rows(lines):
        tables.append(("Collectives", ("operation", "chips", "count", "sent MB", "kind"), collectives))
    if heaviest:
        title = f"The {heaviest} kinds of instruction that move most"
        tables.append(
            (
                title,
                ("HBM GB", "times", "matrix TFLOP", "kind", "result", "operation"),
                _heaviest_rows(lines, heaviest),
            )
        )
    return tables


def _part_rows(values: Mapping[str, Any], found: Sequence[Part]) -> _Rows:
    rows = [
        (
            part.name,
            f"{_scaled(part.amount)}{part.unit}",
            f"{_scaled(part.rate)}{part.unit}",
            f"{part.milliseconds:.2f}",
            f"the bound; MFU there {100 * values['mfu_at_bound']:.1f} %"
            if part.name == values["bound_by"]
            else "",
        )
        for part in found
    ]
    return rows


def _memory_rows(values: Mapping[str, Any]) -> _Rows:
    names = {
        "argument_bytes": "state and batch",
        "temporary_bytes": "temporaries",
        "needed_bytes": "all that the program needs",
        "memory_bytes": "the chip has",
    }
    return [(name, f"{values[key] / 2**30:.2f}") for key, name in names.items()]


def _kind_rows(lines: Sequence[Line]) -> _Rows:
    total = sum(line.hbm_read + line.hbm_written for line in lines) or 1.0
    sums: dict[str, list[float]] = {}
    for line in lines:
        of_kind = sums.setdefault(line.kind, [0.0, 0.0, 0.0])
        for place, amount in enumerate(
            (line.matrix_flops, line.vector_ops, line.hbm_read + line.hbm_written)
        ):
            of_kind[place] += amount
    return [
        (kind, f"{flops / 1e12:.2f}", f"{ops / 1e9:.1f}", f"{moved / 1e9:.2f}", f"{100 * moved / total:.1f}")
        for kind, (flops, ops, moved) in sorted(sums.items(), key=lambda item: -item[1][2])
    ]


def _collective_rows(lines: Sequence[Line]) -> _Rows:
    sums: dict[tuple[str, int, str], list[float]] = {}
    for line in lines:
        if line.collective_bytes:
            of_kind = sums.setdefault(
                (line.instruction.opcode.removesuffix("-start"), len(line.group), line.kind), [0.0, 0.0]
            )
            of_kind[0] += line.trips
            of_kind[1] += line.collective_bytes
    return [
        (opcode, str(chips), f"{times:.0f}", f"{sent / 1e6:,.1f}", kind)
        for (opcode, chips, kind), (times, sent) in sorted(sums.items(), key=lambda item: -item[1][1])
    ]


def _heaviest_rows(lines: Sequence[Line], limit: int) -> _Rows:
    """Instructions of one operation, kind and result together."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for line in lines:
        name = re.sub(r"jit\([^)]*\)/", "", line.instruction.op_name) or line.instruction.opcode
        of_kind = sums.setdefault((line.kind, str(line.instruction.shape), name), [0.0, 0.0, 0.0])
        of_kind[0] += line.hbm_read + line.hbm_written
        of_kind[1] += line.trips
        of_kind[2] += line.matrix_flops
    ranked = sorted(sums.items(), key=lambda item: -item[1][0])[:limit]
    return [
        (f"{moved / 1e9:.2f}", f"{times:.0f}", f"{flops / 1e12:.3f}", kind, _cut(shape, 60), _cut(name, -70))
        for (kind, shape, name), (moved, times, flops) in ranked
    ]


def _cut(text: str, size: int) -> str:
    """The first `size` characters, or the last ones of a negative size."""
    if len(text) <= abs(size):
        return text
    return f"{text[:size]}…" if size > 0 else f"…{text[size:]}"


def _scaled(amount: float) -> str:
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if amount >= factor:
            return f"{amount / factor:,.4g} {letter}"
    return f"{amount:,.4g} "
