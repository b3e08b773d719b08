"""JSON files: what is read, and what is said of those that cannot be; hostile ones: tests/hostile."""

import pytest

from bert_jax import json_file
from bert_jax.errors import UserError


def test_the_value_of_a_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ["é", 1]}', encoding="utf-8")
    assert json_file.read(tmp_path / "a.json") == {"a": ["é", 1]}
    (tmp_path / "a.json").write_text("[1]")
    assert json_file.read(tmp_path / "a.json", list) == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"not JSON \(.*\): do it again"),
        (b"\xff", r"not JSON \(.*utf-8.*\): do it again"),
        (b"[]", "holds a list, must hold an object: do it again"),
        (b"{}", "a is missing: do it again"),
        (b'{"a": 1}', 'a=1 must be a list: do it again'),
        (b'{"a": [{"b": true}]}', r"a\[0\]\.b=true must be a whole number >= 0: do it again"),
        (b'{"a": [{"b": 1}, {"b": -1}]}', r"a\[1\]\.b=-1 must be a whole number >= 0: do it again"),
    ],
)  # fmt: skip
def test_a_file_of_another_form(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: {message}$"):
        json_file.read(path, {"a": [{"b": int}]}, advice="do it again")


def test_a_file_that_is_not_there_is_the_callers_matter(tmp_path):
    with pytest.raises(FileNotFoundError):
        json_file.read(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        json_file.read(tmp_path)


@pytest.mark.parametrize(
    ("value", "form", "fault"),
    [
        ({"x": 1, "y": 2}, {str: int}, ""),
        ({"x": 1, "y": None}, {str: int}, "y=null must be a whole number >= 0"),
        ({"x": {"y": ["a", 3]}}, {"x": {"y": [str]}}, "x.y[1]=3 must be text"),
        ([1, 2.5, -1], [float], ""),
        ([True], [float], "[0]=true must be a number"),
        ({"x": None, "more": 1}, {"x": object}, ""),
        ("a" * 500, int, "holds a str, must hold a whole number >= 0"),
        ({"x": "a" * 500}, {"x": int}, f'x="{"a" * 79}... must be a whole number >= 0'),
        ([], dict, "holds a list, must hold an object"),
    ],
)
def test_a_form_and_what_is_not_of_it(value, form, fault):
    assert json_file.fault(value, form) == fault
