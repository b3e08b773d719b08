"""A file of weights knows whether it is what was written."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bert_jax.interop import weights

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.ones((), np.float32),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def file(tmp_path):
    weights.save(TENSORS, tmp_path / "w.safetensors", {"format": "pt"})
    return tmp_path / "w.safetensors"


def test_what_was_written_is_whole_and_any_reader_reads_it(file):
    assert not weights.is_damaged(file)
    for name, array in load_file(file).items():
        np.testing.assert_array_equal(array, TENSORS[name])
    with safe_open(file, "numpy") as opened:
        assert opened.metadata()["format"] == "pt"


def test_the_same_tensors_are_the_same_bytes(file, tmp_path):
    """safetensors writes the keys of its metadata in a random order."""
    for _ in range(16):
        weights.save(TENSORS, tmp_path / "again", {"format": "pt"})
        assert (tmp_path / "again").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("place", [-1, -13, -24])
def test_a_flipped_bit_of_a_tensor_is_damage(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert weights.is_damaged(file)


@pytest.mark.parametrize(
    "changed",
    [
        {**TENSORS, "c": TENSORS["a"]},
        {"b": TENSORS["b"], "a": TENSORS["a"]},
        {**TENSORS, "b": TENSORS["b"].reshape(3, 2)},
        {**TENSORS, "a": TENSORS["a"].astype(np.float64)},
    ],
)
def test_other_tensors_under_the_same_checksum_are_damage(file, changed):
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    save_file(changed, file, metadata)
    assert weights.is_damaged(file)


def test_what_another_program_writes_in_its_place_has_no_checksum(file):
    save_file({"b": TENSORS["b"] + 1}, file)
    assert not weights.is_damaged(file)
