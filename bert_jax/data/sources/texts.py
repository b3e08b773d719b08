"""The lines of a file or of standard input as texts, one at a time: memory does not grow with them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from bert_jax.data.sources.blocks import UTF16_FAULT, UTF16_MARKS
from bert_jax.data.sources.streams import LINE_BYTES
from bert_jax.errors import UserError


def texts_of(path: Path | None) -> Iterator[str]:
    """The lines that are not blank, of a file or of standard input if something is piped in, one at a time.

    Raises:
      UserError: there is no such file, or a line is not UTF-8 or too long.
    """
    if path is None and sys.stdin.isatty():
        return
    place = path or "standard input"
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb")) if path else sys.stdin.buffer
        except OSError as error:
            raise UserError(f"--input {path}: cannot be read: {error.strerror}") from error
        for number, raw in enumerate(iter(lambda: stream.readline(LINE_BYTES + 1), b""), 1):
            if len(raw) > LINE_BYTES:
                raise UserError(
                    f"{place}:{number}: the line has > {LINE_BYTES} bytes, must have fewer; cut the text"
                )
            if number == 1 and raw.startswith(UTF16_MARKS):
                raise UserError(f"{place}: {UTF16_FAULT}")
            try:
                # Without the byte-order mark that some editors write.
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{place}:{number}: not UTF-8: {error}") from None
            yield from (text for part in line.split("\r") if (text := part.strip()))
