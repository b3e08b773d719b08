"""What a break of the package is."""

from typing import NamedTuple


class Break(NamedTuple):
    """A line of the package that is wrong, and the tests that must say so."""

    name: str
    """what is then wrong"""
    file: str
    """below bert_jax/"""
    old: str
    """what stands once in the file, within a line"""
    new: str
    test: str
    """below tests/: FILE::FUNCTION"""
