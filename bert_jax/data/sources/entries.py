"""What an entry of `data.path` names: the installed documentation, a TFDS dataset, or files."""

from __future__ import annotations

import os

INSTALLED_DOCS = "installed_docs"
TFDS_PREFIX = "tfds:"


def is_tfds(entry: str) -> bool:
    return entry.startswith(TFDS_PREFIX)


def is_remote(path: str) -> bool:
    return "://" in path


def absolute(entry: str) -> str:
    """The entry, the path of local files made absolute: a relative one means other files in another folder."""
    if entry == INSTALLED_DOCS or is_tfds(entry) or is_remote(entry):
        return entry
    return os.path.abspath(os.path.expanduser(entry))
