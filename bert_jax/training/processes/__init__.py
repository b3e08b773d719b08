"""A run of several processes: how they find each other, wait for each other, and end, together or not.

Every process runs the same program on its own devices and rows; process 0 alone writes files and prints. None
waits without limit: a process that sees no progress for config.parallel.timeout seconds ends, an error in one
process ends all, and the death of one is noticed by the others. A lone process passes through at no cost.

Importing this package does not import jax.
"""

from bert_jax.training.processes.discovery import ProcessGroup, ProcessSpec, find_group, spec_from_flags
from bert_jax.training.processes.lifecycle import session, start
from bert_jax.training.processes.membership import (
    barrier,
    heartbeat,
    is_alone,
    is_first,
    on_abort,
    raised_everywhere,
)
from bert_jax.training.processes.stopping import StopSignals

__all__ = [
    "ProcessGroup",
    "ProcessSpec",
    "StopSignals",
    "barrier",
    "find_group",
    "heartbeat",
    "is_alone",
    "is_first",
    "on_abort",
    "raised_everywhere",
    "session",
    "spec_from_flags",
    "start",
]
