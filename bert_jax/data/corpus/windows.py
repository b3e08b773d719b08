"""Segments of tokens, each of any length, read as windows of one width.

`TokenShards.gather` reads many windows at once. A short width wastes little on short segments; a long one makes few
windows of long segments.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

Gather = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(starts [W], lengths [W], width) -> values [W, width], such as `TokenShards.gather`."""


@dataclasses.dataclass(frozen=True)
class Windows:
    """W windows of at most `width` tokens each."""

    starts: np.ndarray
    """First token, counted over the whole corpus: int64 [W]."""
    lengths: np.ndarray
    """Tokens: int64 [W], 1 ... width."""
    width: int

    def read(self, gather: Gather) -> np.ndarray:
        """The values of all windows, end to end: [sum of lengths]."""
        return gather(self.starts, self.lengths, self.width)[self._is_inside]

    @functools.cached_property
    def _is_inside(self) -> np.ndarray:
        return np.arange(self.width) < self.lengths[:, None]


def cut_windows(starts: np.ndarray, lengths: np.ndarray, *, width: int) -> Windows:
    """The windows of the segments, in order.

    Args:
      starts: first token of each segment, counted over the whole corpus. lengths: tokens of each, >= 0.

    >>> windows = cut_windows(np.array([10, 40, 70]), np.array([5, 2, 3]), width=2)
    >>> windows.starts
    array([10, 12, 14, 40, 70, 72])
    >>> windows.lengths
    array([2, 2, 1, 2, 2, 1])
    """
    return _first_windows(starts, lengths, -(-lengths // width), width)


def cut_windows_in_groups(
    starts: np.ndarray, lengths: np.ndarray, *, width: int, most: int
) -> Iterator[Windows]:
    """The same windows, at most `most` at a time, so that memory does not grow with the segments' lengths."""
    counts = -(-lengths // width)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    for first in range(0, total, most):
        last = min(first + most, total)
        inside = slice(np.searchsorted(ends, first, "right"), np.searchsorted(ends, last, "left") + 1)
        begin, end = ends[inside] - counts[inside], ends[inside]  # of the windows of each segment
        before = np.maximum(first - begin, 0)  # windows that the groups before have of it
        yield _first_windows(
            starts[inside] + before * width,
            lengths[inside] - before * width,
            np.minimum(end, last) - begin - before,
            width,
        )


def _first_windows(starts: np.ndarray, lengths: np.ndarray, counts: np.ndarray, width: int) -> Windows:
    """The first `counts` windows of each segment."""
    number_in_segment = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = number_in_segment * width
    return Windows(
        np.repeat(starts, counts) + offset, np.minimum(np.repeat(lengths, counts) - offset, width), width
    )
