"""The lines of a file as texts."""

import io
import sys
import types

import pytest

from bert_jax.data.sources.texts import texts_of
from bert_jax.errors import UserError


def test_marks_blank_lines_and_every_line_end_are_left_out(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbf one\r\n\r\ntwo\rthree\n\n  \nfour \tfive")
    assert list(texts_of(path)) == ["one", "two", "three", "four \tfive"]


def test_texts_before_a_bad_line_come_and_the_line_is_named(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"one\ncaf\xe9\n")
    texts = texts_of(path)
    assert next(texts) == "one"
    with pytest.raises(UserError, match=r"t\.txt:2: not UTF-8"):
        next(texts)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"--input .*none\.txt: cannot be read: No such file"):
        list(texts_of(tmp_path / "none.txt"))


@pytest.mark.parametrize(("is_terminal", "texts"), [(True, []), (False, ["one", "two"])])
def test_standard_input_is_read_if_something_is_piped_in(monkeypatch, is_terminal, texts):
    stream = types.SimpleNamespace(isatty=lambda: is_terminal, buffer=io.BytesIO(b"one\ntwo\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert list(texts_of(None)) == texts
