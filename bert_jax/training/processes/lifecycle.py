"""How the processes of a run start together, train under a watchdog, and end together."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from bert_jax.training.processes import connection, membership
from bert_jax.training.processes.abort import (
    abort_for,
    abort_for_another,
    listen_for_failures,
    release_listeners,
    watch_connection,
)
from bert_jax.training.processes.discovery import ProcessSpec, find_group
from bert_jax.training.processes.membership import UNLIMITED, Member, barrier
from bert_jax.training.processes.watchdog import Watchdog

_LOG = logging.getLogger(__name__)


def start(spec: ProcessSpec | None, *, wait: float = 300) -> None:
    """Joins the processes that train together, if there are others. Call it before any device is used.

    Args:
      spec: the processes as flags name them; None: as Slurm, Open MPI, a TPU pod or Kubernetes does.
      wait: seconds in which every process must connect. If one does not, this process ends.

    Raises:
      UserError: process 0 cannot be reached, or its port is in use.
    """
    group = find_group(spec, os.environ)
    if group is None:
        return
    if group.index == 0:
        connection.check_port_is_free(group.coordinator)
    else:
        connection.wait_until_reachable(group.coordinator, wait)
    _LOG.debug("process %d of %d; process 0 is at %s", group.index, group.count, group.coordinator)
    member = membership.enter(group)
    address = group.coordinator
    if group.index > 0:
        member.proxy, address = connection.start_proxy(address)
        watch_connection(member)
    connection.bypass_web_proxies(address)
    member.watchdog = Watchdog(
        wait,
        lambda _: abort_for_another(
            f"not all {group.count} processes connected to {group.coordinator} within {wait:g} s", member
        ),
    )
    import jax

    jax.distributed.initialize(
        address,
        group.count,
        group.index,
        local_device_ids=group.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=UNLIMITED,
        heartbeat_timeout_seconds=UNLIMITED,
        shutdown_timeout_seconds=UNLIMITED,
    )
    member.watchdog.close()
    member.watchdog = None
    listen_for_failures(member)


@contextlib.contextmanager
def session(*, timeout: float, checkpoints: Path) -> Iterator[None]:
    """The part of a run that every process executes, under a watchdog. Ends what `start` began.

    An error that only this process raises is printed here and reported to the others, and this process ends:
    without them it cannot shut jax down.

    Args:
      timeout: seconds without `heartbeat` after which this process ends.
      checkpoints: folder of the run's checkpoints, for the message about how to resume.
    """
    member = membership.current()
    if member is None:
        yield
        return
    member.checkpoints = checkpoints
    member.watchdog = Watchdog(
        timeout,
        lambda what: abort_for_another(
            f"no progress for {timeout:g} s (config.parallel.timeout) while waiting for {what}", member
        ),
    )
    try:
        yield
    except BaseException as error:
        if error is not member.agreed:
            abort_for(error, member)
        _finish(member)
        raise
    _finish(member)


def _finish(member: Member) -> None:
    """Shuts jax's client down in all processes together: it waits until each has done so."""
    import jax

    barrier("the end")
    member.is_over = True
    if member.group.index == 0:
        release_listeners()
    jax.distributed.shutdown()
    if member.proxy:
        member.proxy.kill()
        member.proxy.wait()
    if member.watchdog:
        member.watchdog.close()
        member.watchdog = None
