"""Two processes that start, wait for each other and end: together, or because of an error or a death."""

import os
import re
import socket
import subprocess
import sys

import pytest

from bert_jax.errors import UserError
from bert_jax.training import processes


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_importing_the_package_does_not_import_jax():
    program = "import sys; import bert_jax.training.processes; print({'jax', 'numpy'} & sys.modules.keys())"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_a_lone_process_passes_through(tmp_path):
    processes.start(processes.spec_from_flags("nowhere:1", 1, 0))
    error = UserError("x")
    with processes.session(timeout=1.0, checkpoints=tmp_path):
        assert processes.is_alone() and processes.is_first()
        processes.barrier("here")
        processes.heartbeat("step 1")
        processes.on_abort(lambda status, reason: pytest.fail("a lone process raises"))
        assert processes.raised_everywhere(error) is error
    with pytest.raises(ZeroDivisionError), processes.session(timeout=1.0, checkpoints=tmp_path):
        raise ZeroDivisionError


def test_a_coordinator_that_does_not_listen_is_one_line():
    address = free_address()
    with pytest.raises(UserError, match=rf"^process 0 .* {address} within 0.1 s \(Connection refused\)"):
        processes.start(processes.spec_from_flags(address, 2, 1), wait=0.1)
    assert processes.is_alone()


def test_a_port_in_use_is_one_line():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"^process 0 .* port {port} of h:{port}: Address already in use"):
            processes.start(processes.spec_from_flags(f"h:{port}", 2, 0))
    assert processes.is_alone()


def test_a_process_that_does_not_connect_ends_the_others_with_one_line():
    address = free_address()
    program = (
        "from bert_jax.training import processes\n"
        f"processes.start(processes.spec_from_flags({address!r}, 2, 0), wait=1)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    line = f"bert-jax: process 0 of 2: .* {re.escape(address)} within 1 s. Nothing was trained"
    assert re.fullmatch(line, answer.stderr.splitlines()[-1])


MEMBER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from bert_jax.errors import UserError
from bert_jax.training import processes
address, index, case, folder = sys.argv[1:]
processes.start(processes.spec_from_flags(address, 2, int(index)))
processes.on_abort(lambda status, reason: Path(folder, f"end{index}").write_text(f"{status} {reason}"))

def sum_over_devices():
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    mesh = Mesh(np.array(jax.devices()), ("all",))
    ones = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("all")), np.ones(1, np.float32))
    return float(jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))(ones))

with processes.session(timeout=5.0, checkpoints=Path(folder)):
    processes.barrier("hello")
    if case.startswith("sum"):
        assert sum_over_devices() == 2.0
    if index == case[-1]:
        if case.startswith("error"):
            raise UserError("its own corpus is broken")
        if case.startswith("bug"):
            {}["its own key"]
        if case.startswith(("kill", "sum", "stop")):
            os.kill(os.getpid(), signal.SIGSTOP if case.startswith("stop") else signal.SIGKILL)
    if case == "both":
        raise processes.raised_everywhere(UserError("raised by both"))
    if case.startswith("sum"):
        sum_over_devices()
    elif case != "none":
        processes.barrier("again")
print("after", processes.is_first())
"""


def run_two(case, folder):
    """[(exit status, last line of its output)] of two processes; one that is stopped is killed at the end."""
    program = [sys.executable, "-c", MEMBER, free_address()]
    two = [
        subprocess.Popen(
            [*program, str(index), case, str(folder)],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    silent = int(case[-1]) if case.startswith("stop") else None
    output = {}
    for index, process in enumerate(two):
        if index != silent:
            output[index] = process.communicate(timeout=60)[0]
    if silent is not None:
        two[silent].kill()
        output[silent] = two[silent].communicate()[0]
    return [(process.returncode, output[index].strip().split("\n")[-1]) for index, process in enumerate(two)]


LOST = "bert-jax: process {} of 2: lost {} while waiting for .*"
RESUMES = "The same command resumes from the last checkpoint, step 40"
SILENT = (
    r"bert-jax: process . of 2: .* 5 s \(config.parallel.timeout\) .*the other processes at 'again'.*"
    + RESUMES
)
KILLED = (-9, ".*")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("none", [(0, "after True"), (0, "after False")]),
        ("both", [(1, "UserError: raised by both"), (1, "UserError: raised by both")]),
        ("error0", [(1, "bert-jax: its own corpus .*"), (1, "bert-jax: process 1 of 2 ends: process 0 failed .*")]),
        ("error1", [(1, "bert-jax: process 0 of 2 ends: process 1 failed .*"), (1, "bert-jax: its own corpus .*")]),
        ("bug1", [(1, "bert-jax: process 0 of 2 ends: process 1 failed .*"), (1, "KeyError: 'its own key'")]),
        ("kill0", [KILLED, (1, LOST.format(1, "process 0") + RESUMES)]),
        ("sum1", [(1, LOST.format(0, "another process") + r"\(UNKNOWN: Gloo .*" + RESUMES), KILLED]),
        ("stop0", [KILLED, (1, SILENT)]),
        ("stop1", [(1, SILENT), KILLED]),
    ],
)  # fmt: skip
def test_two_processes_end_with_one_line_each(case, expected, tmp_path):
    (tmp_path / "40").mkdir()
    (tmp_path / "50.orbax-checkpoint-tmp").mkdir()
    for index, ((status, line), (wanted, pattern)) in enumerate(
        zip(run_two(case, tmp_path), expected, strict=True)
    ):
        assert status == wanted, line
        assert re.search(f"{pattern}$", line), line
        noted = tmp_path / f"end{index}"
        aborted = wanted == 1 and case != "both"
        assert noted.exists() == aborted
        if aborted:
            assert noted.read_text().startswith(f"{status} ")
            assert noted.read_text().strip().endswith(line.removeprefix("bert-jax: "))
