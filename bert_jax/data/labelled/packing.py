"""Which examples share a row of a batch, and how many rows a batch has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def best_fit(lengths_U: np.ndarray, *, length: int, most: int) -> list[list[int]]:
    """Rows of units, each row's lengths adding up to `length` at most, `most` units a row: best fit, longest first.

    Each unit, from the longest, goes into the fullest row that has room for it. Ties go by number, so the result is a
    function of the arguments alone. No length may exceed `length`.
    """
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(length + 1)]  # room that is left -> rows that have it
    for unit in np.argsort(-lengths_U, kind="stable").tolist():
        need = int(lengths_U[unit])
        room = next((room for room in range(need, length + 1) if by_room[room]), None)
        if room is None:
            row, room = len(rows), length
            rows.append([])
        else:
            row = by_room[room].pop()
        rows[row].append(unit)
        if len(rows[row]) < most:
            by_room[room - need].append(row)
    return rows


def row_sizes(needed: Sequence[int], *, multiple: int) -> tuple[int, ...]:
    """The numbers of rows that batches may have, ascending, from how many rows a sample of batches needs.

    Each is compiled once, so there are three at most: what half of the batches fit, nine in ten, and all.
    """
    ordered = sorted(needed)
    places = (len(ordered) // 2, math.ceil(0.9 * len(ordered)) - 1, len(ordered) - 1)
    return tuple(sorted({rounded_up(ordered[place], multiple) for place in places}))


def rounded_up(number: int, multiple: int) -> int:
    """The next multiple of `multiple`, `number` itself if it is one."""
    return -(-number // multiple) * multiple
