"""Several processes train one model, as a user starts them: equal to one process, stopped, killed, resumed."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.commands import pretrain
from bert_jax.tasks.load import load_workdir
from bert_jax.training.metrics import read_metrics
from tests import labelled
from tests.runs import CLOCK
from tests.tiny_models import save_tiny

ROOT = Path(__file__).parents[2]
# A pause before each training batch leaves time to be stopped in.
SLOWLY = (
    "import sys, time; from bert_jax import __main__ as m, logs; logs.configure()\n"
    "from bert_jax.data.batches.pipeline import Batches\n"
    "iterate = Batches.iterate\n"
    "def slowly(self, start, stop):\n"
    "    for batch in iterate(self, start, stop):\n"
    "        time.sleep(0.2 * (self.split == 'train'))\n"
    "        yield batch\n"
    "Batches.iterate = slowly\n"
    "sys.exit(m.main(sys.argv[1:]))"
)


def environment(devices):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": path}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def processes(experiment, workdir, *options, count=2, program=("-m", "bert_jax"), command="pretrain"):
    """Starts a run of `count` processes with one device each; kills those that are left."""
    address = f"127.0.0.1:{free_port()}"
    started = []
    with contextlib.ExitStack() as stack:
        for index in range(count):
            words = [command, "--config", str(experiment), "--workdir", str(workdir), *options]
            group = ["--coordinator", address, "--processes", str(count), "--process-id", str(index)]
            process = subprocess.Popen(
                [sys.executable, *program, *words, *group],
                env=environment(1),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield started


def wait_for_step(workdir, step, started):
    while not any(line["step"] >= step for line in read_metrics(workdir / "metrics.jsonl")):
        assert all(process.poll() is None for process in started), [p.communicate()[1] for p in started]
        time.sleep(0.1)


def ends(started):
    """(exit status, last line of stderr) of each."""
    output = [process.communicate(timeout=200)[1] for process in started]
    return [
        (process.returncode, (text.splitlines() or [""])[-1])
        for process, text in zip(started, output, strict=True)
    ]


def assert_same_run(folder, straight):
    """The same lines to rounding, the same parameters to rounding: sums are added in another order."""
    ours, theirs = (read_metrics(path / "metrics.jsonl") for path in (folder, straight))
    exact = ("step", "split", "learning_rate", "sequence_length")
    for line, expected in zip(ours, theirs, strict=True):
        assert line.keys() == expected.keys()
        for name in line.keys() - CLOCK:
            wanted = expected[name] if name in exact else pytest.approx(expected[name], rel=1e-5, abs=1e-6)
            assert line[name] == wanted, (line["step"], name)
    ours, theirs = (load_workdir(path)[1] for path in (folder, straight))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6), ours, theirs)


@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_resumes_with_any_number_of_processes(
    experiment, prepared, straight, tmp_path
):
    """With dropout. `straight` has eight devices in one process. Here four processes start, by the script, two for
    each half of the rows; a signal reaches only one of them. Two processes resume, and then one."""
    folder, slow = tmp_path / "run", tmp_path / "python"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\n'
        f'shift 2; exec {sys.executable} {tmp_path}/slowly.py "$@"\n'
    )
    slow.chmod(0o755)
    (tmp_path / "slowly.py").write_text(SLOWLY)
    mesh = ["--config.parallel.data=2", "--config.parallel.tensor=2"]
    words = ["pretrain", "--config", str(experiment), "--workdir", str(folder), *mesh]
    with subprocess.Popen(
        ["bash", str(ROOT / "launch/local.sh"), "4", *words],
        env=environment(1) | {"LOGS": str(tmp_path), "PYTHON": str(slow), "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        wait_for_step(folder, 3, [script])
        four = Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()
        os.kill(int(four[2]), signal.SIGTERM)
        outputs = [script.communicate(timeout=200)[1]]
    assert len(four) == 4
    assert script.returncode == 143
    outputs += [(tmp_path / f"process-{index}.txt").read_text() for index in (1, 2, 3)]
    steps = {re.search(r"bert-jax: SIGTERM at step (\d+): saved. Resume with", text)[1] for text in outputs}
    (stopped,) = map(int, steps)
    assert 3 <= stopped < 12

    with processes(experiment, folder, program=("-c", SLOWLY)) as started:
        wait_for_step(folder, 9, started)
        started[0].kill()
        (killed, _), (status, line) = ends(started)
    assert (killed, status) == (-signal.SIGKILL, 1)
    assert line.startswith("bert-jax: process 1 of 2: ")
    last = int(re.search(r"The same command resumes from the last checkpoint, step (\d+)$", line)[1])
    assert stopped <= last < 12
    pretrain.run(prepared, folder)
    assert_same_run(folder, straight)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_by_both(experiment, prepared, straight, tmp_path):
    """The first process finds it and tells the other, which by itself might read its own part of it."""
    folder = shutil.copytree(straight, tmp_path / "run")
    file = max((folder / "checkpoints/12/params/d").iterdir(), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with processes(experiment, folder) as started:
        output = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], output
    assert "checkpoint 12 in " in output[0] and "is damaged: params/d/" in output[0]
    assert (folder / "damaged/12/params").is_dir()
    assert_same_run(folder, straight)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["finetune", "distill"])
def test_labelled_data_in_two_processes_is_that_of_one(command, tmp_path, monkeypatch):
    """With dropout, packed rows whose number is no multiple of two, and an evaluation of the whole set; killed, it
    resumes."""
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    words = labelled.WORDS
    save_tiny(tmp_path / "model", words, dropout_rate=0.1)
    save_tiny(tmp_path / "teacher", words, seed=1, hidden_size=64)
    is_distilled = command == "distill"
    experiment = labelled.write(
        tmp_path,
        [(f"the {words[2 + i % 2]} was {words[i % 2]} {'. ' * (i % 7)}", words[i % 2]) for i in range(51)],
        kind="DistilFinetuneConfig" if is_distilled else "FinetuneConfig",
        **({"distil__hidden_mse": 1.0, "distil__value_relation": 1.0} if is_distilled else {}),
        task__max_length=48,
        train__batch_size=17,
        train__steps=12,
        train__log_every=1,
        train__eval_every=4,
        optim__learning_rate=1e-3,
    )
    init = ("--init", str(tmp_path / "model"))
    init += ("--teacher", str(tmp_path / "teacher")) if is_distilled else ()
    with processes(experiment, tmp_path / "one", *init, count=1, command=command) as started:
        assert [status for status, _ in ends(started)] == [0]
    with processes(experiment, tmp_path / "two", *init, command=command) as started:
        wait_for_step(tmp_path / "two", 5, started)
        started[1].kill()
        assert ends(started)[0][0] in (0, 1)  # 0: it was done already
    with processes(experiment, tmp_path / "two", *init, command=command) as started:
        assert [status for status, _ in ends(started)] == [0, 0]
    assert_same_run(tmp_path / "two", tmp_path / "one")


def test_incomplete_flags_are_bad_usage(experiment, tmp_path):
    words = ["pretrain", "--config", str(experiment), "--workdir", str(tmp_path), "--processes", "2"]
    answer = subprocess.run(
        [sys.executable, "-m", "bert_jax", *words], env=environment(1), capture_output=True, text=True
    )
    assert answer.returncode == 2
    assert "--processes 2 needs --coordinator and --process-id: give all three, or none" in answer.stderr
