"""Ten thousand steps with evaluations and checkpoints on the way hold no more memory, files or threads than a thousand."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_jax.training.metrics import read_metrics

STEPS = 10_000
OPTIONS = {
    "train.steps": STEPS, "train.batch_size": 2, "train.log_every": 100, "train.eval_every": 500,
    "train.eval_batches": 1, "checkpoint.every": 500, "checkpoint.keep": 2, "model.dropout_rate": 0.0,
    "model.attention_dropout_rate": 0.0, "data.sequence_length": 16,
}  # fmt: skip


def held(process: int) -> tuple[int, int, int]:
    """Resident bytes, open files, threads."""
    here = Path(f"/proc/{process}")
    pages = int((here / "statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGESIZE"),
        len(list((here / "fd").iterdir())),
        len(list((here / "task").iterdir())),
    )


@pytest.mark.slow
def test_what_a_run_holds_does_not_grow(experiment, prepared, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "output"
    words = ["-m", "bert_jax", "pretrain", "--config", str(experiment), "--workdir", str(folder)]
    options = [f"--config.{key}={value}" for key, value in OPTIONS.items()]
    found: dict[int, tuple[int, int, int]] = {}
    with (
        output.open("w") as stream,
        subprocess.Popen(
            [sys.executable, *words, *options],
            stdout=stream,
            stderr=stream,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        ) as process,
    ):
        while process.poll() is None:
            lines = read_metrics(folder / "metrics.jsonl")
            step = lines[-1]["step"] if lines else 0
            try:
                found[step] = held(process.pid)
            except OSError:  # it ended
                break
            time.sleep(0.1)
    assert process.returncode == 0, output.read_text()[-2000:]
    early = [each for step, each in found.items() if STEPS * 0.1 <= step < STEPS * 0.4]
    late = [each for step, each in found.items() if step >= STEPS * 0.7]
    assert len(early) > 5 and len(late) > 5
    # Twelve checkpoints lie between: what leaked one of anything for each would be past these.
    room = {"bytes": 0.05 * max(each[0] for each in early), "files": 2, "threads": 6}
    for name, before, after in zip(room, zip(*early, strict=True), zip(*late, strict=True), strict=True):
        assert max(after) <= max(before) + room[name], (name, max(before), max(after))
