"""Windows against a plain loop over the segments."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.corpus import windows
from bert_jax.data.corpus.windows import cut_windows, cut_windows_in_groups


def test_the_worked_example_of_the_docstring():
    assert doctest.testmod(windows) == doctest.TestResults(failed=0, attempted=3)


def plain(segments: list[tuple[int, int]], width: int) -> list[tuple[int, int]]:
    return [
        (start + at, min(width, length - at)) for start, length in segments for at in range(0, length, width)
    ]


_SEGMENTS = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 40)), max_size=12)


@given(segments=_SEGMENTS, width=st.integers(1, 9), most=st.integers(1, 12))
def test_windows_at_once_or_in_groups_are_those_of_a_loop(segments, width, most):
    starts, lengths = np.array(segments, np.int64).reshape(-1, 2).T
    expected = plain(segments, width)
    whole = cut_windows(starts, lengths, width=width)
    assert list(zip(whole.starts.tolist(), whole.lengths.tolist(), strict=True)) == expected
    groups = list(cut_windows_in_groups(starts, lengths, width=width, most=most))
    assert [len(group.starts) for group in groups[:-1]] == [most] * (len(groups) - 1)
    found = [pair for group in groups for pair in zip(group.starts, group.lengths, strict=True)]
    assert found == expected


@given(segments=_SEGMENTS, width=st.integers(1, 9))
def test_reading_gives_the_segments_end_to_end(segments, width):
    def gather(starts, lengths, width):
        out = np.full((len(starts), width), -1)
        for window, start, length in zip(out, starts, lengths, strict=True):
            window[:length] = np.arange(start, start + length)
        return out

    starts, lengths = np.array(segments, np.int64).reshape(-1, 2).T
    found = cut_windows(starts, lengths, width=width).read(gather)
    assert found.tolist() == [n for start, length in segments for n in range(start, start + length)]
