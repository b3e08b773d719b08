"""What finds a group of processes, and what ends one, without starting any."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from bert_jax import config as configs
from bert_jax.errors import ConfigError, UsageError, UserError
from bert_jax.training import parallel
from bert_jax.training.processes import coordinator_proxy as relay
from bert_jax.training.processes import discovery as cluster
from bert_jax.training.processes import session as distributed
from bert_jax.training.processes.discovery import Group
from bert_jax.training.processes.watchdog import Watchdog

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
        cluster.given(*flags)


def test_flags_come_before_the_cluster():
    flags = cluster.given("h:1", 3, 2)
    assert cluster.find(flags, step()) == Group(coordinator="h:1", count=3, index=2)
    assert cluster.find(cluster.given("h:1", 1, 0), {}) is None
    assert cluster.given(None, None, None) is None


def test_a_step_of_slurm_is_a_group():
    found = cluster.find(None, step())
    host, port = found.coordinator.split(":")
    assert (host, found.count, found.index) == ("gpu08", 4, 2)
    assert 2**16 - 2**12 <= int(port) < 2**16
    assert cluster.find(None, step(SLURM_STEP_ID="3")).coordinator != found.coordinator  # side by side


@pytest.mark.parametrize(
    ("nodes", "first"), [("a", "a"), ("a,b", "a"), ("n[3,5],b", "n3"), ("n[001-4]", "n001"), ("x-y1", "x-y1")]
)
def test_the_first_node_leads(nodes, first):
    assert cluster.find(None, step(SLURM_STEP_NODELIST=nodes)).coordinator.split(":")[0] == first


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
    assert cluster.find(None, os.environ) is None
    distributed.start(None)
    assert distributed.is_alone() and distributed.is_first()
    assert not recwarn.list


def test_a_later_pod_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}
    with pytest.raises(UserError, match=r"JOB_COMPLETION_INDEX=3 is a pod of several: give --coordinator"):
        cluster.find(None, pod)


@pytest.mark.parametrize(("hosts", "count"), [("localhost", None), ("localhost,127.0.0.1", 2)])
def test_a_tpu_pod_is_found_as_jax_finds_it(hosts, count, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", hosts)
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    monkeypatch.setattr(cloud_tpu_cluster, "get_tpu_env_value", lambda name: None)  # one slice
    found = cluster.find(None, {})
    assert found is None if count is None else (found.count, found.index) == (count, 1)


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({}, (1,)),  # chosen by nobody: one a task, as jax does
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (2, 3)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),  # bound to the task
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "3,1"}, None),
    ],
    ids=str,
)
def test_tasks_of_a_node_share_out_its_gpus(environment, own):
    assert cluster.find(None, step(**environment)).devices == own


def test_the_watchdog_is_silent_while_it_is_fed():
    expired = []
    with_pauses = Watchdog(0.5, expired.append)
    for _ in range(4):
        time.sleep(0.2)
        with_pauses.fed("more")
    with_pauses.close()
    assert expired == []


def test_the_watchdog_says_what_was_waited_for():
    expired, heard = [], threading.Event()
    dog = Watchdog(0.05, lambda what: (expired.append(what), heard.set()))
    dog.fed("step 7")
    assert heard.wait(5)
    dog.close()
    assert expired == ["step 7"]


@pytest.fixture
def lost_relay():
    """A relay to a server of ours: (its process, a connection through it, the server's side)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", relay.__file__, "127.0.0.1", port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process, socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as client:
            upstream, _ = server.accept()
            with upstream:
                yield process, client, upstream
            process.kill()


def test_the_relay_carries_both_ways_and_outlives_the_coordinator(lost_relay):
    process, client, upstream = lost_relay
    client.sendall(b"question")
    assert upstream.recv(100) == b"question"
    upstream.sendall(b"answer")
    assert client.recv(100) == b"answer"
    process.send_signal(signal.SIGTERM)  # as sent to a whole group
    upstream.close()
    assert process.stdout.readline() == b"lost\n"
    client.sendall(b"more")  # into the void
    client.sendall(b"and more")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):  # open, and silent
        client.recv(1)
    process.stdin.close()
    assert process.wait(10) is not None


def test_the_relay_says_nothing_when_the_client_leaves_first(lost_relay):
    process, client, upstream = lost_relay
    client.close()
    assert upstream.recv(1) == b""
    process.stdin.close()
    assert process.stdout.read() == b""


def test_a_coordinator_that_is_not_there_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        UserError, match=rf"^no process 0 at 127.0.0.1:{port} within 0.1 s \(Connection refused\)"
    ):
        distributed._reach(f"127.0.0.1:{port}", 0.1)


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UserError, match=f"^process 0 cannot listen on port {port} of h:{port}: Address alr"
        ):
            distributed._check_port_is_free(f"h:{port}")


def test_others_that_do_not_come_end_the_process_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = (
        "from bert_jax.training.processes import discovery as cluster\nfrom bert_jax.training.processes import session as distributed\n"
        f"distributed.start(cluster.given('127.0.0.1:{port}', 2, 0), wait=1)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    line = f"bert-jax: process 0 of 2: not all 2 came to 127.0.0.1:{port} within 1 s. Nothing was trained"
    assert answer.stderr.splitlines()[-1] == line


MEETING = """
import os, signal, sys
from pathlib import Path
from bert_jax.errors import UserError
from bert_jax.training.processes import discovery as cluster\nfrom bert_jax.training.processes import session as distributed
address, index, case, folder = sys.argv[1:]
distributed.start(cluster.given(address, 2, int(index)))
distributed.at_end(lambda status, reason: Path(folder, f"end{index}").write_text(f"{status} {reason}"))
with distributed.session(timeout=5.0, checkpoints=Path(folder)):
    distributed.barrier("hello")
    if index == case[-1]:
        if case.startswith("error"):
            raise UserError("its own row is broken")
        if case.startswith(("kill", "stop")):
            os.kill(os.getpid(), signal.SIGKILL if case.startswith("kill") else signal.SIGSTOP)
    if case == "both":
        raise distributed.met_by_all(UserError("met by both"))
    if case != "none":
        distributed.barrier("again")
print("after", distributed.is_first())
"""


def meet(case, folder):
    """[(exit status or None while it is stopped, last lines of its output)] of two processes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    program = [sys.executable, "-c", MEETING, address]
    two = [
        subprocess.Popen(
            [*program, str(index), case, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    silent = int(case[-1]) if case.startswith("stop") else None
    said = {}
    for index, process in enumerate(two):
        if index != silent:
            said[index] = process.communicate(timeout=60)[0]
    if silent is not None:
        two[silent].kill()
        said[silent] = two[silent].communicate()[0]
    return [(process.returncode, said[index].strip().split("\n")[-1]) for index, process in enumerate(two)]


RESUMES = "The same command resumes from the last checkpoint, step 40"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("none", [(0, "after True"), (0, "after False")]),
        ("both", [(1, "UserError: met by both"), (1, "UserError: met by both")]),
        ("error0", [(1, "bert-jax: its own row is broken"), (1, "bert-jax: process 1 of 2 ends: process 0 met .*")]),
        ("error1", [(1, "bert-jax: process 0 of 2 ends: process 1 met .*"), (1, "bert-jax: its own row is broken")]),
        ("kill0", [(-9, ".*"), (1, f"bert-jax: process 1 of 2: process 0 is gone, waiting for .*. {RESUMES}")]),
        ("stop0", [(-9, ".*"), (1, r"bert-jax: .*: nothing finished for 5 s \(config.parallel.timeout\), .*")]),
        ("stop1", [(1, r"bert-jax: .*: nothing finished for 5 s \(config.parallel.timeout\), .*"), (-9, ".*")]),
    ],
)  # fmt: skip
def test_two_processes_end_well_however_they_end(case, expected, tmp_path):
    (tmp_path / "40").mkdir()
    (tmp_path / "50.orbax-checkpoint-tmp").mkdir()
    for index, ((status, line), (wanted, pattern)) in enumerate(
        zip(meet(case, tmp_path), expected, strict=True)
    ):
        assert status == wanted, line
        assert re.search(f"{pattern}$", line), line
        noted = tmp_path / f"end{index}"
        assert noted.exists() == line.startswith("bert-jax: ")  # it ended at once, with a reason of its own
        if noted.exists():
            assert noted.read_text() == f"{status} {line.removeprefix('bert-jax: ')}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("UNKNOWN: Gloo all-reduce failed: x\nand more"), "UNKNOWN: Gloo all-reduce failed: x"),
        (RuntimeError("INTERNAL: NCCL operation failed"), "INTERNAL: NCCL operation failed"),
        (UserError("the socket set of the corpus is broken"), ""),
        (KeyError("params"), ""),
    ],
)
def test_the_death_of_another_is_told_from_ones_own_errors(error, reason):
    assert distributed._death_of_another(error) == reason
    outer = UserError("checkpoint 3 could not be written")
    outer.__cause__ = error
    assert distributed._death_of_another(outer) == reason


@pytest.mark.parametrize(
    ("held", "shares"),
    [
        ({0: {0, 1}}, [(0, 1)]),
        ({0: {0, 1}, 1: {2, 3}}, [(0, 2), (1, 2)]),
        ({0: {0}, 1: {0}, 2: {1}, 3: {1}}, [(0, 2), (0, 2), (1, 2), (1, 2)]),  # split by "tensor"
        ({0: {2, 3}, 1: {0, 1}}, [(1, 2), (0, 2)]),  # the mesh goes round the processes in its own order
        ({0: {0, 2}, 1: {1, 3}}, [(0, 2), (1, 2)]),
        ({0: {0, 1}, 1: {1, 2}}, [None, None]),
        ({0: {0, 1}, 1: {2}}, [None, None]),
    ],
    ids=str,
)
def test_processes_feed_the_rows_that_their_devices_hold(held, shares):
    assert [parallel.row_share(held, process) for process in held] == shares


def test_a_plan_asks_its_mesh():
    """Eight devices of this process: all rows."""
    raw = {"parallel": {"data": 2, "fsdp": 2, "tensor": 2}, "model": {"preset": "bert-tiny"}}
    assert parallel.make_plan(configs.resolve(raw)).share() == (0, 1)


def test_pmap_is_for_one_process():
    raw = {"parallel": {"mode": "pmap"}, "train": {"batch_size": 8}, "model": {"preset": "bert-tiny"}}
    devices = [SimpleNamespace(process_index=i, device_kind="cpu") for i in range(2)]
    with pytest.raises(
        ConfigError, match=r"^config.parallel.mode='pmap' must be 'jit' for a run of 2 processes"
    ):
        parallel.make_plan(configs.resolve(raw), devices)


def test_seeds_share_their_programs():
    """What is compiled must not hold the seed, or no trial finds another's in the compilation cache."""
    from bert_jax import batch as contract
    from bert_jax.tasks.assembly import Assembly
    from bert_jax.training.optim import make_optimizer
    from bert_jax.training.step import train_step

    texts, kernels = [], []
    for seed in (1, 2):
        config = configs.resolve(
            {
                "seed": seed,
                "tokenizer": {"vocab_size": 64},
                "data": {"sequence_length": 16},
                "model": {
                    "preset": "bert-tiny",
                    "hidden_size": 16,
                    "num_heads": 2,
                    "num_layers": 1,
                    "mlp_size": 16,
                },
                "train": {"batch_size": 8},
            }
        )
        assert config.model.dropout_rate > 0
        parts = Assembly.of(config)
        state = parts.new_state()
        assert int(state.seed) == seed

        def body(state, batch, parts=parts, config=config):
            return train_step(
                state,
                batch,
                reduce=lambda tree: tree,
                objective=parts.objective,
                optimizer=make_optimizer(config),
                accumulate=1,
            )

        step_text = jax.jit(body).lower(state, contract.synthetic(config, 8)).as_text()
        texts.append((jax.jit(parts._create).lower(parts._seed).as_text(), step_text))
        kernels.append(state.params["bert"]["embeddings"]["token"])
    assert texts[0] == texts[1]
    assert not jnp.array_equal(*kernels)
