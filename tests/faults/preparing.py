"""A small corpus to be prepared by commands that are disturbed."""

from __future__ import annotations

from pathlib import Path


def experiment(text: Path, folder: Path, file: Path) -> str:
    """Writes an experiment that prepares `text` in `folder` to `file`; returns its name."""
    file.write_text(
        f"""
from bert_jax.config import base
def get_config():
    config = base()
    config.data.path = {str(text)!r}
    config.data.directory = {str(folder)!r}
    config.tokenizer.vocab_size = 128
    return config
"""
    )
    return str(file)
