"""A Slurm cluster for the session, and the small experiment of the commands' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands.conftest import corpus, experiment, prepared  # noqa: F401
from tests.launch import slurm_cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_cluster.Cluster]:
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster.started() as cluster:
        yield cluster
