"""The small corpus and runs of the commands' tests, and a disk of its own."""

import pytest

from tests.commands.conftest import corpus, experiment, prepared, straight  # noqa: F401
from tests.faults.disk import mounted


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("disk") / "disk") as made:
        yield made
