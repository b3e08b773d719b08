"""The small experiment of the commands' tests, and compilation in this process."""

import jax
import pytest

from bert_jax.benchmarks import compile as compiling
from bert_jax.compilers import targets
from tests.commands.conftest import corpus, experiment, prepared  # noqa: F401


@pytest.fixture
def in_place(monkeypatch):
    """Compiles in this process, for its own devices."""
    monkeypatch.setattr(targets, "check_compiler", lambda target: None)
    monkeypatch.setattr(targets, "devices", lambda target: jax.devices()[: target.count])
    monkeypatch.setattr(compiling, "in_a_new_process", lambda environment, function, *args: function(*args))
