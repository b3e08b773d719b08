"""Several processes that train as one."""

from bert_jax.training.processes.discovery import Given as ProcessSpec
from bert_jax.training.processes.discovery import Group as ProcessGroup
from bert_jax.training.processes.discovery import find as find_group
from bert_jax.training.processes.discovery import given as spec_from_flags
from bert_jax.training.processes.group import at_end as on_abort
from bert_jax.training.processes.group import barrier, is_alone, is_first, session, start
from bert_jax.training.processes.group import fed as heartbeat
from bert_jax.training.processes.group import met_by_all as raised_everywhere

__all__ = [
    "ProcessGroup",
    "ProcessSpec",
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
