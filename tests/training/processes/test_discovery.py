"""The group of a process, found from flags and from the environments of launchers."""

import os
import sys

import pytest

from bert_jax.errors import UsageError, UserError
from bert_jax.training import processes
from bert_jax.training.processes import ProcessGroup, find_group, spec_from_flags

ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


def step(**more):
    """The environment of the third task of four, two a node, in step 2 of job 7."""
    return ALLOCATION | {
        "SLURM_STEP_ID": "2",
        "SLURM_STEP_NODELIST": "gpu[08-09,12]",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_PROCID": "2",
        "SLURM_NODEID": "1",
        "SLURM_LOCALID": "1",
        **more,
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("h:1", None, None),
            "--coordinator h:1 needs --processes and --process-id: give all three, or none",
        ),
        ((None, 2, 0), "--processes 2 --process-id 0 needs --coordinator"),
        (("host", 2, 0), "--coordinator host must be HOST:PORT with a port from 1 to 65535"),
        (("h:70000", 2, 0), "--coordinator h:70000 must be HOST:PORT"),
        (("h:1", 0, 0), "--processes 0 must be >= 1"),
        (("h:1", 2, 2), "--process-id 2 must be >= 0 and < --processes 2"),
        (("h:1", 2, -1), "--process-id -1 must be >= 0 and < --processes 2"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(UsageError, match="^" + message):
        spec_from_flags(*flags)


def test_flags_come_before_the_cluster():
    flags = spec_from_flags("h:1", 3, 2)
    assert find_group(flags, step()) == ProcessGroup(coordinator="h:1", count=3, index=2)
    assert find_group(spec_from_flags("h:1", 1, 0), {}) is None
    assert spec_from_flags(None, None, None) is None


def test_a_step_of_slurm_is_a_group():
    found = find_group(None, step())
    host, port = found.coordinator.split(":")
    assert (host, found.count, found.index) == ("gpu08", 4, 2)
    assert 2**16 - 2**12 <= int(port) < 2**16
    assert find_group(None, step(SLURM_STEP_ID="3")).coordinator != found.coordinator  # side by side


@pytest.mark.parametrize(
    ("nodes", "first"), [("a", "a"), ("a,b", "a"), ("n[3,5],b", "n3"), ("n[001-4]", "n001"), ("x-y1", "x-y1")]
)
def test_the_first_node_leads(nodes, first):
    assert find_group(None, step(SLURM_STEP_NODELIST=nodes)).coordinator.split(":")[0] == first


@pytest.mark.parametrize(
    "alone",
    [
        {},
        ALLOCATION,  # a batch script of four tasks, before any srun
        step(SLURM_STEP_NUM_TASKS="1"),  # srun -n1 there, or the shell of salloc
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},  # any pod
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
    ],
    ids=["nothing", "sbatch", "one task", "pod", "first pod"],
)
def test_what_is_alone_stays_alone(alone, monkeypatch, recwarn):
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    assert find_group(None, os.environ) is None
    processes.start(None)
    assert processes.is_alone() and processes.is_first()
    assert not recwarn.list


def test_a_later_pod_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}
    with pytest.raises(
        UserError, match=r"JOB_COMPLETION_INDEX=3 .* --coordinator, --processes and --process-id"
    ):
        find_group(None, pod)


@pytest.mark.parametrize(("hosts", "count"), [("localhost", None), ("localhost,127.0.0.1", 2)])
def test_a_tpu_pod_is_found_as_jax_finds_it(hosts, count, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", hosts)
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    monkeypatch.setattr(cloud_tpu_cluster, "get_tpu_env_value", lambda name: None)  # one slice
    found = find_group(None, {})
    assert found is None if count is None else (found.count, found.index) == (count, 1)


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({}, (1,)),  # Slurm sets none: one per task, as jax does
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (2, 3)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),  # bound to the task
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "3,1"}, None),
    ],
    ids=str,
)
def test_the_tasks_of_a_node_divide_its_gpus(environment, own):
    assert find_group(None, step(**environment)).devices == own
