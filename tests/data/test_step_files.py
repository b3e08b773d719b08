"""Arrays of steps on disk: whole, of the rows that are asked for, and never wrong."""

import json
import logging

import numpy as np
import pytest

from bert_jax.data import step_files
from bert_jax.data.step_files import StepFiles, rows_checksum
from bert_jax.errors import UserError

NAMES = ("values", "ids")


def arrays(step):
    rng = np.random.default_rng(step)
    return {
        "values": rng.normal(size=(4, 3)).astype(np.float16),
        "ids": rng.integers(0, 9, (4, 3)).astype(np.uint16),
    }


def filled(folder, steps, **options):
    files = StepFiles(folder, NAMES, {"of": "a test"}, **options)
    for step in steps:
        files.add(step, 100 + step, arrays(step))
    files.flush()
    return files


def assert_is(found, step):
    assert found is not None and found.keys() == set(NAMES)
    for name, expected in arrays(step).items():
        np.testing.assert_array_equal(found[name], expected, strict=True)


def read_all(files, steps):
    found = [files.read(step, 100 + step) for step in steps]
    files.flush()
    return found


@pytest.fixture
def two_a_file(monkeypatch):
    monkeypatch.setattr(step_files, "_STEPS", 2)


def test_what_is_kept_is_read_again_and_described(tmp_path, two_a_file):
    files = filled(tmp_path / "x", [3, 4, 5, 9])
    assert sorted(path.name for path in tmp_path.glob("x/*.npz")) == [
        "000000003-000000004.npz", "000000005-000000005.npz", "000000009-000000009.npz"
    ]  # fmt: skip
    assert files.bytes == sum(path.stat().st_size for path in tmp_path.glob("x/*.npz"))
    assert json.loads((tmp_path / "x/cache.json").read_text()) == {"of": "a test"}
    again = StepFiles(tmp_path / "x", NAMES, {"of": "a test"})
    for step, found in zip((5, 3, 9, 4), read_all(again, (5, 3, 9, 4)), strict=True):
        assert_is(found, step)
    assert read_all(again, [2, 6]) == [None, None]


def test_a_killed_process_loses_the_file_under_way_alone(tmp_path, two_a_file):
    files = StepFiles(tmp_path / "x", NAMES, {})
    for step in range(5):
        files.add(step, 100 + step, arrays(step))
    (tmp_path / "x/.000000004-000000005.npz.host-1.partial").write_bytes(b"PK half")
    again = StepFiles(tmp_path / "x", NAMES, {})
    assert [found is not None for found in read_all(again, range(5))] == [True] * 4 + [False]


def test_other_rows_are_refused_by_name(tmp_path):
    files = filled(tmp_path / "x", [7])
    with pytest.raises(UserError, match=r"000000007-000000007\.npz: step 7 .* 107, .* 108") as caught:
        files.read(7, 108)
    files.flush()
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_never_read_as_an_output(tmp_path, caplog):
    whole = filled(tmp_path / "whole", [0, 1])
    content = next(whole.folder.glob("*.npz")).read_bytes()
    lost = 0
    for place in range(0, len(content), 7):
        folder = tmp_path / f"at{place}"
        folder.mkdir()
        changed = content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        (folder / "000000000-000000001.npz").write_bytes(changed)
        files = StepFiles(folder, NAMES, {})
        for step, found in enumerate(read_all(files, [0, 1])):
            lost += found is None
            if found is not None:  # the byte belongs to nothing that is read
                assert_is(found, step)
    assert lost > len(content) // 7 / 2


@pytest.mark.parametrize("left", [0, 10, 0.5, 0.99])
def test_a_file_cut_short_is_removed_with_a_warning_and_made_again(left, tmp_path, caplog):
    path = next(filled(tmp_path / "x", [0, 1]).folder.glob("*.npz"))
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left < 1 else left])
    files = StepFiles(tmp_path / "x", NAMES, {})
    with caplog.at_level(logging.WARNING):
        assert read_all(files, [0]) == [None]
    assert str(path) in caplog.text and "is damaged" in caplog.text
    assert not path.exists() and files.bytes == 0
    for step, found in enumerate(read_all(filled(tmp_path / "x", [0, 1]), [0, 1])):
        assert_is(found, step)


def test_the_files_stay_within_their_room(tmp_path, two_a_file):
    size = filled(tmp_path / "x", [0, 1]).bytes
    limit = 5 * size
    files = StepFiles(tmp_path / "y", NAMES, {}, room=lambda: limit - files.bytes)
    for step in range(20):
        files.add(step, 100 + step, arrays(step))
    files.flush()
    assert limit / 2 < files.bytes <= limit and files.is_full
    found = read_all(files, range(20))
    for step in range(20):
        if 2 * files_of(files) > step:
            assert_is(found[step], step)
        else:
            assert found[step] is None


def files_of(files):
    return len(list(files.folder.glob("*.npz")))


def files_in(folder):
    return len(list(folder.glob("x/*.npz")))


def test_two_processes_share_a_folder(tmp_path, two_a_file):
    first, second = (StepFiles(tmp_path / "x", NAMES, {}) for _ in range(2))
    for files in (first, second):  # at once: neither has written when the other begins
        files.add(0, 100, arrays(0))
    for files in (first, second):
        files.add(1, 101, arrays(1))
    assert files_in(tmp_path) == 1
    first.add(2, 102, arrays(2))
    first.flush()
    for step, found in enumerate(read_all(second, range(3))):  # what the other wrote meanwhile
        assert_is(found, step)


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache_directory"):
        StepFiles(tmp_path / "file/x", NAMES, {})


def test_a_disk_that_refuses_costs_the_cache_alone(tmp_path, caplog, monkeypatch):
    files = StepFiles(tmp_path / "x", NAMES, {})

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    files.add(0, 100, arrays(0))
    files.flush()
    assert files.is_full and "No space left" in caplog.text
    assert list(tmp_path.glob("x/*")) == [tmp_path / "x/cache.json"]


def test_the_checksum_is_of_the_fields_it_names():
    batch = {"a_B": np.arange(3), "b_B": np.arange(3)}
    one = rows_checksum(batch, ("a_B",))
    assert one == rows_checksum({**batch, "b_B": np.ones(3)}, ("a_B", "c_B"))
    assert one != rows_checksum({**batch, "a_B": np.array([0, 1, 3])}, ("a_B",))
