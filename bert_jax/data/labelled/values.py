"""Values of a table's fields as texts and labels. None stands for a value that is missing."""

from __future__ import annotations

import math
import re
from typing import Any

from bert_jax.data.labelled.files import decode
from bert_jax.errors import UserError

_SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(value: Any, place: str, column: str) -> str | None:
    """The text as it is. Half a surrogate pair, which only a JSON escape can make, becomes U+FFFD."""
    if isinstance(value, bytes):
        value = decode(value, place=place)
    if value is not None and not isinstance(value, str):
        raise UserError(
            f"{place}: the column {column!r} holds {type(value).__name__}, must be text; name another column"
        )
    return _SURROGATE.sub("\ufffd", value) if value else value


def class_of(value: Any, place: str, column: str) -> str | None:
    """A class name: text without white space around, or a number or boolean as text (1 and 1.0: "1", True: "true").

    Missing: null, NaN (a null, to pandas) and empty text.
    """
    match value:
        case bool():
            return str(value).lower()
        case float():
            return None if math.isnan(value) else str(int(value) if value.is_integer() else value)
        case int():
            return str(value)
        case None | str() | bytes():
            return (text_of(value, place, column) or "").strip() or None
        case _:
            raise UserError(
                f"{place}: the column {column!r} holds {type(value).__name__}, must be one class: text or a number;"
                " name another column"
            )


def classes_of(value: Any, place: str, column: str) -> tuple[str, ...] | None:
    """The names of a list, or of a text where they are separated by "|", or by commas if it has no "|".

    An empty list or text is no label at all, which is a value; null is a missing one.
    """
    if isinstance(value, bytes | str):
        text = text_of(value, place, column) or ""
        value = [part for part in text.split("|" if "|" in text else ",") if part.strip()]
    if value is None:
        return None
    if not isinstance(value, list):
        raise UserError(
            f"{place}: the column {column!r} holds {type(value).__name__}, must be a list of label names or a text"
            " that separates them by commas or |"
        )
    names = [class_of(name, place, column) for name in value]
    if None in names:
        raise UserError(
            f"{place}: label {names.index(None) + 1} of the column {column!r} is empty; remove it"
        )
    return tuple(dict.fromkeys(name for name in names if name))


def number_of(value: Any, place: str, column: str) -> float | None:
    """A finite number. Missing: null and empty text."""
    if isinstance(value, bytes | str):
        value = (text_of(value, place, column) or "").strip() or None
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{place}: the column {column!r} holds {value!r}, must be a finite number; correct it or name another column"
        )
    return number


def words_of(value: Any, place: str, column: str) -> tuple[str, ...]:
    """The texts of a list: words or tags. Numbers become text; null is an empty list."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UserError(
            f"{place}: the column {column!r} holds {type(value).__name__}, must be a list with one text for each word"
        )
    words = [
        text_of(v, place, column) if isinstance(v, str | bytes) else class_of(v, place, column) for v in value
    ]
    if None in words:
        raise UserError(
            f"{place}: item {words.index(None) + 1} of the column {column!r} is null; correct the list"
        )
    return tuple(word for word in words if word is not None)
