"""A damaged or hostile file is read as it stands, made again where it is a cache, or refused in one line with its name;
it never crashes or hangs the program, and what a checksum covers is never read as something else."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import damage
from tests.hostile.damage import Edit
from tests.hostile.formats import FORMATS
from tests.hostile.trial import Folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Name of a format -> a folder of it, written once."""
    written: dict[str, Folder] = {}

    def folder(name: str) -> Folder:
        if name not in written:
            written[name] = Folder(FORMATS[name], tmp_path_factory.mktemp("format"))
        return written[name]

    return folder


AT_LENGTH = pytest.mark.skipif(
    "BERT_JAX_FUZZ" not in os.environ, reason="an hour of damage: BERT_JAX_FUZZ=1 asks for it"
)


def systematic(name: str, content: bytes, *, places: int, values: int) -> Iterator[tuple[str, bytes | None]]:
    yield "a folder", None
    yield from damage.whole(content)
    yield from damage.truncated(content, places)
    yield from damage.flipped(content, places)
    if name.endswith(".json"):
        yield from damage.retyped(content, values)


def faults(folder: Folder, *, places: int, values: int) -> list[str]:
    return [
        f"{name}, {what}: {fault}"
        for name, content in folder.files.items()
        for what, damaged in systematic(name, content, places=places, values=values)
        if (fault := folder.fault(name, damaged))
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_systematic_damage(folders, name):
    assert faults(folders(name), places=4, values=8) == []


@pytest.mark.slow
@AT_LENGTH
@pytest.mark.parametrize("name", FORMATS)
def test_much_systematic_damage(folders, name):
    assert faults(folders(name), places=200, values=3000) == []


EDITS = st.lists(
    st.builds(
        Edit,
        at=st.integers(0, 2**20),
        removed=st.sampled_from((0, 1, 1, 2, 4, 8, 64)),
        put=st.sampled_from(damage.TOKENS) | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=8,
)


def check_edits(folder: Folder, examples: int) -> None:
    """Tries hypothesis's edits on each file."""

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(name=st.sampled_from(sorted(folder.files)), edits=EDITS)
    def check(name: str, edits: list[Edit]) -> None:
        assert folder.fault(name, damage.edited(folder.files[name], edits)) == ""

    check()


@pytest.mark.parametrize("name", FORMATS)
def test_random_edits(folders, name):
    check_edits(folders(name), 8)


@pytest.mark.slow
@AT_LENGTH
@pytest.mark.parametrize("name", FORMATS)
def test_many_random_edits(folders, name):
    check_edits(folders(name), 1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_may_not_be_read(folders, name):
    folder = folders(name)
    assert [fault for file in folder.files if (fault := folder.fault(file, folder.files[file], mode=0))] == []


def test_every_kind_of_damage_differs():
    """The ways to damage a file do so."""
    content = b'{"a": [1, 2], "b": {"c": "x"}}'
    tried = [
        damaged
        for _, damaged in itertools.islice(systematic("a.json", content, places=9, values=50), 1, None)
    ]
    assert content not in tried and len(set(tried)) > 80
