"""An array that is written part by part."""

from __future__ import annotations

import io

import numpy as np
import pytest

from bert_jax.data.growing import GrowingArray
from bert_jax.data.instances.documents import SEGMENT


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, SEGMENT])
def test_the_file_has_the_bytes_that_numpy_writes(tmp_path, dtype):
    parts = [np.zeros(5, dtype), np.zeros(0, dtype), np.ones(10**5, dtype)]
    with GrowingArray(tmp_path / "a.npy", dtype) as array:
        for part in parts:
            array.append(part)
    assert array.count == 10**5 + 5
    whole = io.BytesIO()
    np.save(whole, np.concatenate(parts))
    assert (tmp_path / "a.npy").read_bytes() == whole.getvalue()


def test_entries_of_another_type_are_converted(tmp_path):
    array = GrowingArray(tmp_path / "a.npy", np.uint16)
    array.append(np.array([1, 65535]))
    array.close()
    found = np.load(array.path)
    assert found.dtype == np.uint16 and found.tolist() == [1, 65535]


def test_an_array_that_was_not_closed_is_empty(tmp_path):
    array = GrowingArray(tmp_path / "a.npy", np.int64)
    array.append(np.arange(10**5))
    assert len(np.load(tmp_path / "a.npy")) == 0
    array.close()
    assert len(np.load(tmp_path / "a.npy")) == 10**5
