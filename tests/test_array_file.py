"""Arrays come back as they were saved, and nothing else is taken for one; hostile files: tests/hostile."""

import numpy as np
import pytest

from bert_jax import array_file

PAIR = np.dtype([("start", "<i8"), ("role", "i1")])
ARRAYS = {
    "a": np.arange(5),
    "b": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
    "c": np.zeros((0, 3), np.uint8),
    "d": np.float64(3.5),
    "e": np.array([(1, 2)], PAIR),
    "f": np.array(["x", "yz"]),
    "g/h": np.array([True, False]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_as_numpy_reads_it(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = array_file.read_npz(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, expected in np.load(tmp_path / "a.npz").items():
        np.testing.assert_array_equal(found[name], expected, strict=True)
        assert found[name].flags.writeable
    assert list(array_file.read_npz(tmp_path / "a.npz", ["b", "a"])) == ["b", "a"]


def test_an_array_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        array_file.read_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", a=np.zeros(1))
    with pytest.raises(ValueError, match=r"not an undamaged \.npz file: .*b\.npy"):
        array_file.read_npz(tmp_path / "a.npz", ["b"])


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", allow_pickle=True, a=np.array([{"x": 1}], object))
    with pytest.raises(ValueError, match="object"):
        array_file.read_npz(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    assert array_file.mapped(tmp_path / "a.npy", np.dtype(object)) is None


def test_a_table_is_mapped_as_the_type_it_has(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    found = array_file.mapped(tmp_path / "a.npy", np.dtype(np.int64))
    assert isinstance(found, np.memmap) and found.tolist() == [0, 1, 2, 3, 4]
    assert not found.flags.writeable
    assert array_file.mapped(tmp_path / "a.npy", np.dtype(np.int32)) is None
    assert array_file.mapped(tmp_path / "b.npy", np.dtype(np.int64)) is None
    np.save(tmp_path / "a.npy", np.array([(1, 2), (3, 4)], PAIR))
    found = array_file.mapped(tmp_path / "a.npy", PAIR)
    assert found is not None and found["role"].tolist() == [2, 4]
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    assert array_file.mapped(tmp_path / "a.npy", np.dtype(float)) is None
