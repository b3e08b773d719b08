"""How this folder's tests check a fault."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from bert_jax.errors import UserError


def assert_fault(make: Callable[[], object], pattern: str) -> None:
    """`make` fails with one line that matches `pattern`."""
    with pytest.raises(UserError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(pattern, message), message
