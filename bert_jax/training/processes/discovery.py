"""Which processes train together, and which of them this one is: from flags, or from the launcher's environment."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from bert_jax.errors import UsageError, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """The processes of a run as flags name them."""

    coordinator: str
    """HOST:PORT where the others reach process 0"""
    count: int
    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessGroup(ProcessSpec):
    """The processes of a run, two or more, and the devices of this one."""

    devices: tuple[int, ...] | None = None
    """indexes of the visible devices that this process uses; None: all"""


def spec_from_flags(
    coordinator: str | None, processes: int | None, process_id: int | None
) -> ProcessSpec | None:
    """What the flags --coordinator, --processes and --process-id say; None without any.

    Raises:
      UsageError: one of them is missing, or out of its range.
    """
    flags = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in flags.items() if value is None]
    if len(missing) == len(flags):
        return None
    if coordinator is None or processes is None or process_id is None:
        given = " ".join(f"{name} {value}" for name, value in flags.items() if value is not None)
        raise UsageError(f"{given} needs {' and '.join(missing)}: give all three, or none")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"--coordinator {coordinator} must be HOST:PORT with a port from 1 to {2**16 - 1}")
    if processes < 1:
        raise UsageError(f"--processes {processes} must be >= 1")
    if not 0 <= process_id < processes:
        raise UsageError(f"--process-id {process_id} must be >= 0 and < --processes {processes}")
    return ProcessSpec(coordinator=coordinator, count=processes, index=process_id)


def find_group(spec: ProcessSpec | None, environment: Mapping[str, str]) -> ProcessGroup | None:
    """The group that this process belongs to; None if it is alone. Connects to no other process.

    `spec` has priority; then a Slurm step (srun), Open MPI, a TPU pod and an indexed Kubernetes Job, detected as
    jax detects them. A Slurm batch script, a step of one task, a single TPU VM and any other pod are alone.

    Raises:
      UserError: a pod of an indexed Job whose number of pods is unknown.
    """
    if spec:
        return None if spec.count == 1 else ProcessGroup(**dataclasses.asdict(spec))
    if "SLURM_STEP_NODELIST" in environment:
        return _slurm(environment)
    from jax._src import clusters  # jax's cluster detection has no public API

    for cluster in (clusters.OmpiCluster, clusters.GkeTpuCluster, clusters.GceTpuCluster):
        if cluster.is_env_present():
            return _from_jax(cluster, environment)
    return _kubernetes(clusters.K8sCluster, environment)


def _from_jax(cluster: Any, environment: Mapping[str, str]) -> ProcessGroup | None:
    """The group that one of jax's `ClusterEnv` classes reports. The address is read last: it may take a while."""
    count = cluster.get_process_count()
    if count == 1:
        return None
    address = cluster.get_coordinator_address(
        timeout_secs=300, override_coordinator_port=environment.get("JAX_COORDINATOR_PORT")
    )
    local = cluster.get_local_process_id()
    return ProcessGroup(
        coordinator=address,
        count=count,
        index=cluster.get_process_id(),
        devices=None if local is None else (local,),
    )


def _kubernetes(cluster: Any, environment: Mapping[str, str]) -> ProcessGroup | None:
    """The pods of an indexed Job or of a JobSet; any other pod is alone."""
    index = environment.get("JOB_COMPLETION_INDEX")
    if index is None or "KUBERNETES_SERVICE_HOST" not in environment:
        return None
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        if index == "0":  # it may be the only pod; if it is not, the others report what is missing
            return None
        raise UserError(
            f"JOB_COMPLETION_INDEX={index} is one of several pods: give --coordinator, --processes and --process-id,"
            " or install the package kubernetes, with which jax queries the cluster"
        ) from None
    return _from_jax(cluster, environment) if cluster.is_env_present() else None


def _slurm(environment: Mapping[str, str]) -> ProcessGroup | None:
    """The tasks of a Slurm step, with the devices of this one."""
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or 1)
    if count == 1:
        return None
    step = int(environment.get("SLURM_STEP_ID", 0))
    # jax's choice, from the ephemeral range, shifted so that the steps of a job use different ports.
    number = (int(environment["SLURM_JOB_ID"]) + 1021 * step) % 2**12 + 2**16 - 2**12
    port = environment.get("JAX_COORDINATOR_PORT", number)
    return ProcessGroup(
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
    """An equal share of the GPUs that Slurm shows to every task of a node; one per task if it sets no GPUs.

    None (all visible GPUs) with one task per node, or if Slurm binds GPUs to tasks.
    """
    local, tasks = int(environment.get("SLURM_LOCALID", 0)), _tasks_of_node(environment)
    if tasks == 1:
        return None
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return (local,)
    visible = [gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if len(visible) < tasks:
        return None
    share = len(visible) // tasks
    return tuple(range(local * share, (local + 1) * share))


def _tasks_of_node(environment: Mapping[str, str]) -> int:
    """How many tasks of the step run on this node: "2(x3),1" means 2, 2, 2 and 1."""
    counts: list[int] = []
    for part in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    node = int(environment.get("SLURM_NODEID", 0))
    return counts[node] if node < len(counts) else 1
