"""The small experiment of the commands' tests."""

from tests.commands.conftest import corpus, experiment, prepared  # noqa: F401
