"""Which processes train together, and which of them this one is: from flags, or from what started it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from bert_jax.errors import UsageError, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """The processes as flags name them."""

    coordinator: str
    """HOST:PORT where process 0 is reached by the others"""
    count: int
    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group(Given):
    """The processes of a run, two or more."""

    devices: tuple[int, ...] | None = None
    """of those that this process sees, the ones that are its own; None: all"""


def given(coordinator: str | None, count: int | None, index: int | None) -> Given | None:
    """What the flags --coordinator, --processes and --process-id say; None without any.

    Raises:
      UsageError: one of them is missing, or out of its range.
    """
    flags = {"--coordinator": coordinator, "--processes": count, "--process-id": index}
    missing = [name for name, value in flags.items() if value is None]
    if len(missing) == len(flags):
        return None
    if coordinator is None or count is None or index is None:
        said = " ".join(f"{name} {value}" for name, value in flags.items() if value is not None)
        raise UsageError(f"{said} needs {' and '.join(missing)}: give all three, or none")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"--coordinator {coordinator} must be HOST:PORT with a port from 1 to {2**16 - 1}")
    if count < 1:
        raise UsageError(f"--processes {count} must be >= 1")
    if not 0 <= index < count:
        raise UsageError(f"--process-id {index} must be >= 0 and < --processes {count}")
    return Given(coordinator=coordinator, count=count, index=index)


def find(flags: Given | None, environment: Mapping[str, str]) -> Group | None:
    """The group that this process belongs to; None where it is alone. Never waits for others.

    Flags come first, then a step of Slurm (srun), Open MPI, a TPU pod, and an indexed Job of Kubernetes, found as
    jax finds them. Batch scripts of Slurm, a step of one task, a TPU VM or a pod by itself are alone.

    Raises:
      UserError: a pod of an indexed Job whose size cannot be told.
    """
    if flags:
        return None if flags.count == 1 else Group(**dataclasses.asdict(flags))
    if "SLURM_STEP_NODELIST" in environment:
        return _slurm(environment)
    from jax._src import clusters  # jax has no public door to these

    for cluster in (clusters.OmpiCluster, clusters.GkeTpuCluster, clusters.GceTpuCluster):
        if cluster.is_env_present():
            return _found(cluster, environment)
    return _kubernetes(clusters.K8sCluster, environment)


def _found(cluster, environment: Mapping[str, str]) -> Group | None:
    """What one of jax's detectors says. Asks for the size first: the address may have to be waited for."""
    count = cluster.get_process_count()
    if count == 1:
        return None
    address = cluster.get_coordinator_address(
        timeout_secs=300, override_coordinator_port=environment.get("JAX_COORDINATOR_PORT")
    )
    local = cluster.get_local_process_id()
    return Group(
        coordinator=address,
        count=count,
        index=cluster.get_process_id(),
        devices=None if local is None else (local,),
    )


def _kubernetes(cluster, environment: Mapping[str, str]) -> Group | None:
    """The pods of an indexed Job, or of a JobSet; any other pod is alone."""
    index = environment.get("JOB_COMPLETION_INDEX")
    if index is None or "KUBERNETES_SERVICE_HOST" not in environment:
        return None
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        if index == "0":  # perhaps the only one; if not, the others say what is missing
            return None
        raise UserError(
            f"JOB_COMPLETION_INDEX={index} is a pod of several: give --coordinator, --processes and --process-id,"
            " or install the package kubernetes, with which jax asks the cluster"
        ) from None
    return _found(cluster, environment) if cluster.is_env_present() else None


def _slurm(environment: Mapping[str, str]) -> Group | None:
    """The tasks of a step. Each takes its own of the devices that the tasks of a node all see, if any do."""
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or 1)
    if count == 1:
        return None
    step = int(environment.get("SLURM_STEP_ID", 0))
    # As jax chooses it, from the range that systems leave to programs; another for each step of a job.
    number = (int(environment["SLURM_JOB_ID"]) + 1021 * step) % 2**12 + 2**16 - 2**12
    port = environment.get("JAX_COORDINATOR_PORT", number)
    return Group(
        coordinator=f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{port}",
        count=count,
        index=int(environment["SLURM_PROCID"]),
        devices=_own_devices(environment),
    )


def _first_host(nodes: str) -> str:
    """The first of "node[001-003,7],other", "a,b" or "a"."""
    match = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    return (match[1] + (match[2] or "")) if match else nodes


def _own_devices(environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """An equal part of the GPUs that Slurm shows to every task of a node; where it chooses none, one a task.

    With one task a node, or GPUs bound to tasks, all that a task sees are its own.
    """
    local, tasks = int(environment.get("SLURM_LOCALID", 0)), _tasks_of_node(environment)
    if tasks == 1:
        return None
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return (local,)
    seen = [gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if len(seen) < tasks:
        return None
    each = len(seen) // tasks
    return tuple(range(local * each, (local + 1) * each))


def _tasks_of_node(environment: Mapping[str, str]) -> int:
    """How many tasks of the step run on this node: "2(x3),1" are 2, 2, 2 and 1."""
    counts: list[int] = []
    for part in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    node = int(environment.get("SLURM_NODEID", 0))
    return counts[node] if node < len(counts) else 1
