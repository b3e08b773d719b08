"""Cleaning of one document before it is cut into sentences: Unicode form, invisible characters, white space.

Control characters are never text, and a zero-width space or byte-order mark inside a word would make it another word:
both are removed. Characters that scripts and emoji need are kept: zero-width joiners and non-joiners, and directional
marks.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from bert_jax.config import CleaningConfig

# Controls (Cc) that are not white space; U+200B zero-width space, U+2060 word joiner, U+FEFF byte-order mark.
_INVISIBLE_SET = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u2060\ufeff"
_SURROGATE_SET = "\ud800-\udfff"
# White space for str.split(), except the line feed and the space.
_SPACE_SET = "\t\x0b-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

_UNUSUAL = re.compile(f"[{_INVISIBLE_SET}{_SURROGATE_SET}{_SPACE_SET}]")
_UNUSUAL_ASCII = bytes(code for code in range(128) if _UNUSUAL.match(chr(code)))
_INVISIBLE = re.compile(f"[{_INVISIBLE_SET}]+")
_SURROGATE = re.compile(f"[{_SURROGATE_SET}]")
_SPACE = re.compile(f"[{_SPACE_SET}]")
_SPACES = re.compile("  +")


def clean_lines(text: str | Iterable[str], config: CleaningConfig, counts: Counter[str]) -> list[str]:
    r"""The cleaned lines of a document that are not blank, with one space between words and none around.

    Only "\n" ends a line; every other white space becomes a space. Adds to `counts`, without entries of 0:
      surrogates          half surrogate pairs, each replaced by U+FFFD
      control_characters  controls and zero-width characters that were removed
      normalized          lines that the Unicode form `config.normalize` changed
    """
    if not isinstance(text, str):
        text = "\n".join(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if _is_unusual(text):
        text = _without_unusual(text, counts)
    if config.normalize != "none" and not text.isascii():
        text = _normalized(text, config.normalize.upper(), counts)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " \n" in text:
        text = text.replace(" \n", "\n")
    if "\n " in text:
        text = text.replace("\n ", "\n")
    return [line for line in text.strip(" ").split("\n") if line]


def _is_unusual(text: str) -> bool:
    """Whether there is a character to remove or to replace."""
    if text.isascii():  # five times as fast as the expression
        return len(text.encode().translate(None, _UNUSUAL_ASCII)) < len(text)
    return _UNUSUAL.search(text) is not None


def _without_unusual(text: str, counts: Counter[str]) -> str:
    text, surrogates = _SURROGATE.subn("\ufffd", text)
    if surrogates:
        counts["surrogates"] += surrogates
    before = len(text)
    text = _INVISIBLE.sub("", text)
    if len(text) < before:
        counts["control_characters"] += before - len(text)
    return _SPACE.sub(" ", text)


def _normalized(text: str, form: str, counts: Counter[str]) -> str:
    """The text in Unicode form NFC or NFKC. Most texts are in it already, which is fast to check."""
    if unicodedata.is_normalized(form, text):  # type: ignore[arg-type]
        return text
    before = text.split("\n")
    after = [unicodedata.normalize(form, line) for line in before]  # type: ignore[arg-type]
    counts["normalized"] += sum(map(str.__ne__, before, after))
    return "\n".join(after)
