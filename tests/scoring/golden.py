"""Cases scored by the official scripts, where they lie beside the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared/data"


def cases(name: str) -> Any:
    """The content of the JSON file `name`; without it the test is skipped."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {name} of the shared data")
    return json.loads(path.read_text(encoding="utf-8"))
