"""Whatever is wrong with the newest checkpoint, the newest whole one is read, nothing else is lost, and it is said."""

import logging
import os
import re
import shutil

import jax
import numpy as np
import pytest

from bert_jax import checksums
from bert_jax.errors import UserError
from bert_jax.training.checkpoint import DAMAGED, Checkpoints
from tests.training.test_checkpoint import abstract, make_state


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints 1, 2 and 3; 3 is the best."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(make_state(step), evaluation={"loss": 1 / step, "sequence_length": 8})
            checkpoints.wait()
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def files_of(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def empty(file):
    file.write_bytes(b"")


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def lengthen(file):
    file.write_bytes(file.read_bytes() + b"\0")


def remove(file):
    file.unlink()


def make_folder(file):
    file.unlink()
    file.mkdir()


def make_dangling_link(file):
    file.unlink()
    file.symlink_to("nowhere")


def make_pipe(file):
    file.unlink()
    os.mkfifo(file)


def fill_with_zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


def flip(place):
    """A damage of one bit, at a share of the file's length."""

    def flip_bit(file):
        content = bytearray(file.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        file.write_bytes(content)

    flip_bit.__name__ = f"flip_bit_at_{place}"
    return flip_bit


OF_FILES = [
    empty, cut, lengthen, remove, make_folder, make_dangling_link, make_pipe, fill_with_zeros,
    *map(flip, (0, 0.3, 0.7, 1)),
]  # fmt: skip
UNREAD = {"commit_success.txt", "_CHECKPOINT_METADATA", checksums.SUMS_FILE}
"""What orbax writes after the checksums, and these."""


def assert_goes_back_to(step, folder, caplog):
    """A resumed run: with the state of `step`, having said which it passed over; these are kept, their steps free."""
    caplog.clear()
    kept = {other: files_of(folder / other) for other in ("1", "2")}
    with caplog.at_level(logging.WARNING, logger="bert_jax"), Checkpoints(folder, keep=3) as checkpoints:
        found, state = checkpoints.resume(abstract())
        assert found == step
        jax.tree.map(np.testing.assert_array_equal, state, make_state(step))
        said = [record.getMessage() for record in caplog.records if record.name.startswith("bert_jax")]
        assert [re.search(r"checkpoint (\d)", line)[1] for line in said] == [
            str(n) for n in range(3, step, -1)
        ], said
        assert all("\n" not in line and f"{DAMAGED}/" in line for line in said)
        assert checkpoints.steps() == list(range(1, step + 1))
        checkpoints.save(make_state(3))
        checkpoints.wait()
        assert checkpoints.latest() == 3
        checkpoints.restore(abstract(), 3)
    assert {other: files_of(folder / other) for other in ("1", "2") if int(other) <= step} == {
        other: files for other, files in kept.items() if int(other) <= step
    }


@pytest.mark.parametrize("damage", OF_FILES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("part", ["params", "training"])
def test_a_damaged_file(run, damage, part, caplog):
    """The largest of a part; all files are tried by the slow test."""
    file = max((run / "3" / part / "d").iterdir(), key=lambda file: file.stat().st_size)
    damage(file)
    assert_goes_back_to(2, run, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("damage", OF_FILES, ids=lambda damage: damage.__name__)
def test_each_file_damaged_in_turn(saved, tmp_path, damage, caplog):
    names = [name for name in files_of(saved / "3") if name not in UNREAD]
    assert len(names) > 20
    for i, name in enumerate(names):
        run = shutil.copytree(saved, tmp_path / str(i) / "checkpoints")
        damage(run / "3" / name)
        if (run / "3" / name).is_file() and (run / "3" / name).read_bytes() == (
            saved / "3" / name
        ).read_bytes():
            continue  # an empty file stays empty
        assert_goes_back_to(2, run, caplog)


@pytest.mark.parametrize("damage", [empty, cut, make_folder, flip(0), flip(0.5)], ids=lambda d: d.__name__)
def test_damaged_checksums(run, damage, caplog):
    damage(run / "3" / checksums.SUMS_FILE)
    assert_goes_back_to(2, run, caplog)


@pytest.mark.parametrize(
    "damage", [damage for damage in OF_FILES if damage is not make_pipe], ids=lambda damage: damage.__name__
)
def test_damaged_notes_of_orbax(run, damage, caplog):
    """They are not needed, or it is as with the other files."""
    damage(run / "3" / "_CHECKPOINT_METADATA")
    with Checkpoints(run, keep=3) as checkpoints:
        step = checkpoints.resume(abstract())[0]
    assert step in (2, 3)


def remove_all(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def replace_by_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


@pytest.mark.parametrize("part", ["params", "training", "metrics", "params/d", "params/ocdbt.process_0"])
@pytest.mark.parametrize("damage", [shutil.rmtree, remove_all, replace_by_file])
def test_a_damaged_folder(run, part, damage, caplog):
    damage(run / "3" / part)
    assert_goes_back_to(2, run, caplog)


@pytest.mark.parametrize("damage", [shutil.rmtree, remove_all, replace_by_file])
def test_a_whole_checkpoint_that_is_gone(run, damage, caplog):
    """Nothing tells that there was one, but a folder without checksums that cannot be read."""
    damage(run / "3")
    with Checkpoints(run, keep=3) as checkpoints:
        assert checkpoints.resume(abstract())[0] == 2
        checkpoints.save(make_state(3))
        checkpoints.wait()
        checkpoints.restore(abstract(), 3)


@pytest.mark.parametrize(
    "name", ["4", "4.orbax-checkpoint-tmp", "04", "-1", "x", ".hidden", "3.5", "9999999999999999999999"]
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_checkpoint(run, name, kind):
    (run / name).mkdir() if kind == "folder" else (run / name).write_text("")
    with Checkpoints(run, keep=3) as checkpoints:
        assert checkpoints.resume(abstract())[0] == 3
        checkpoints.save(make_state(5))
        checkpoints.wait()
        assert checkpoints.latest() == 5


def test_several_damaged(run, caplog):
    flip(0.5)(run / "3" / "params" / "_METADATA")
    remove(run / "2" / "training" / "_METADATA")
    assert_goes_back_to(1, run, caplog)
    assert files_of(run.parent / DAMAGED / "3")
    assert files_of(run.parent / DAMAGED / "2")


def test_none_is_whole(run):
    before = files_of(run)
    for step in "123":
        flip(0.5)(run / step / "params" / "_METADATA")
    with Checkpoints(run, keep=3) as checkpoints:
        with pytest.raises(
            UserError, match=r"^no checkpoint in .* is whole: 3: params/_METADATA .*; 2: .*; 1: .*$"
        ):
            checkpoints.resume(abstract())
        with pytest.raises(
            UserError, match=r"^no checkpoint in .* is whole: 3: params/_METADATA .*; 2: .*; 1: .*$"
        ):
            checkpoints.choose("last")
    assert files_of(run) == before
    assert not (run.parent / DAMAGED).exists()


def test_damaged_twice_at_one_step_both_are_kept(run, caplog):
    for _ in range(2):
        flip(0.5)(run / "3" / "params" / "_METADATA")
        assert_goes_back_to(2, run, caplog)
    assert sorted(path.name for path in (run.parent / DAMAGED).iterdir()) == ["3", "3-2"]


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_model_is_read_of_the_newest_whole_one(run, which, caplog):
    flip(0.5)(max((run / "3" / "params" / "d").iterdir()))
    with Checkpoints(run, read_only=True) as checkpoints, caplog.at_level(logging.WARNING, "bert_jax"):
        assert checkpoints.choose(which) == 2
        assert f"checkpoint 3 in {run} is damaged: params/d/" in caplog.text
        with pytest.raises(UserError, match=r"^checkpoint 3 in .* is damaged: .*; there are others: 1, 2$"):
            checkpoints.restore_params(abstract().params, checkpoints.choose("3"))
    assert (run / "3").is_dir()  # a reader moves nothing


def test_a_model_is_read_although_the_optimizers_state_is_damaged(run):
    flip(0.5)(max((run / "3" / "training" / "d").iterdir()))
    with Checkpoints(run, read_only=True) as checkpoints:
        params = checkpoints.restore_params(abstract().params, checkpoints.choose("last"))
    jax.tree.map(np.testing.assert_array_equal, params, make_state(3).params)


@pytest.mark.parametrize("damage", [shutil.rmtree, remove_all])
def test_without_checksums_it_is_whole_if_it_can_be_read(run, damage, caplog):
    for step in "123":
        (run / step / checksums.SUMS_FILE).unlink()
    with Checkpoints(run, keep=3) as checkpoints:
        assert checkpoints.resume(abstract())[0] == 3
    damage(run / "3" / "training")
    assert_goes_back_to(2, run, caplog)
