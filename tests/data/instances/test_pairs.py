"""The worked example of how the segments of pairs are ordered; `test_index.py` compares all of it with the oracle."""

from __future__ import annotations

import doctest

from bert_jax.data.instances import pairs


def test_the_worked_example_of_the_docstring():
    assert doctest.testmod(pairs) == doctest.TestResults(failed=0, attempted=3)
