"""Cleaning against a second, plain implementation; what it counts, and what scripts need it to keep."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.config import CleaningConfig
from bert_jax.text.cleaning import clean_lines

FORMS = ("none", "nfc", "nfkc")


def clean(text, normalize="nfc"):
    counts: Counter[str] = Counter()
    lines = clean_lines(text, CleaningConfig(normalize=normalize), counts)
    return lines, dict(counts)


def oracle(text, normalize):
    """A character and a line at a time."""
    counts: Counter[str] = Counter()
    lines = []
    for raw in text.split("\n"):
        kept = ""
        for character in raw.removesuffix("\r"):
            if unicodedata.category(character) == "Cs":
                counts["surrogates"] += 1
                kept += "\ufffd"
            elif character.isspace():
                kept += " "
            elif unicodedata.category(character) == "Cc" or character in "\u200b\u2060\ufeff":
                counts["control_characters"] += 1
            else:
                kept += character
        line = kept if normalize == "none" else unicodedata.normalize(normalize.upper(), kept)
        counts["normalized"] += line != kept
        if words := line.split():
            lines.append(" ".join(words))
    return lines, {name: count for name, count in counts.items() if count}


_CHARACTERS = st.one_of(
    st.sampled_from(
        "ab \n\r\t\0\x0b\x0c\x1c\x7f\x85\u00a0\u0301\u0308e\u200b\u200d\u2060\ufeff\ufffd\u3000가ᄀ\u1161ﬁ…“½\u00a8"
    ),
    st.characters(),
    st.characters(categories=["Cs"]),
)


@given(st.text(_CHARACTERS), st.sampled_from(FORMS))
def test_cleaning_is_what_the_plain_implementation_does(text, normalize):
    assert clean(text, normalize) == oracle(text, normalize)


@given(st.text(st.characters(max_codepoint=127)), st.sampled_from(FORMS))
def test_ascii_too(text, normalize):
    assert clean(text, normalize) == oracle(text, normalize)


@given(st.text(_CHARACTERS), st.sampled_from(FORMS))
def test_clean_text_stays_as_it_is_and_counts_nothing(text, normalize):
    lines, _ = clean(text, normalize)
    assert clean("\n".join(lines), normalize) == (lines, {})
    assert clean(lines, normalize) == (lines, {})


def test_every_character():
    text = "\n".join(f"a{chr(code)}b" for code in range(0x10000))  # beyond it are no controls, no white space
    assert clean(text, "none") == oracle(text, "none")


def test_counts_of_changes():
    text = "e\u0301te\u0301\nfine\nn\u0303\0\0\ufeffx\ud800"
    assert clean(text) == (
        ["été", "fine", "ñx\ufffd"],
        {"normalized": 2, "control_characters": 3, "surrogates": 1},
    )
    assert clean("ﬁne…", "nfc")[0] == ["ﬁne…"]
    assert clean("ﬁne…", "nfkc") == (["fine..."], {"normalized": 1})
    assert clean("e\u0301", "none") == (["e\u0301"], {})


@pytest.mark.parametrize(
    "text",
    [
        "क्\u200dष क्\u200cष",  # joiners choose the form of a conjunct
        "می\u200cخواهم",  # a non-joiner inside a Persian word
        "👩\u200d👩\u200d👧 👍🏽 ❤\ufe0f",
        "\u200fשלום\u200e ok \u2067عربي\u2069",  # directional marks
        "日本語。中文！한국어",
        "“It’s—well…”",
    ],
)
def test_what_scripts_need_is_kept(text):
    assert clean(text) == ([text], {})


def test_white_space_of_every_kind():
    assert clean(" a\t b\u00a0\u3000c \r\n\r\n \u2003\n\x0cd\x0b\n") == (["a b c", "d"], {})
    assert clean("") == clean(" \n\t\n") == ([], {})
