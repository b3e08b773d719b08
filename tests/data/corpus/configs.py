"""A small text with a given vocabulary, and the configuration that prepares it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bert_jax.config import PretrainConfig, resolve

TEXT = """\
The first document has two sentences. Here is the second one!
It goes on, on another line: no sentence crosses it.

The second document is short. It mentions [MASK] and [SEP] as words.

A third document, with a Greek letter: Ω. What is it for?
"""

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY += [*"abcdefghijklmnopqrstuvwxyz.,:!?[]", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"), "the"]


def config_of(folder: Path, *, text: str | None = TEXT, **changes) -> PretrainConfig:
    """The configuration that prepares folder/text.txt, which is written unless `text` is None."""
    if text is not None:
        (folder / "text.txt").write_text(text, encoding="utf-8")
    vocabulary = folder / "given.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in VOCABULARY))
    raw = {
        "data": {"path": str(folder / "text.txt"), "directory": str(folder / "prepared")},
        "tokenizer": {"path": str(vocabulary), "vocab_size": len(VOCABULARY)},
    }
    for name, value in changes.items():
        group, _, field = name.partition("__")
        raw.setdefault(group, {})[field] = value
    return resolve(raw)


def elsewhere(config: PretrainConfig, folder: Path) -> PretrainConfig:
    """The same corpus under another root."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(folder)))
