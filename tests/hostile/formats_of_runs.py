"""What probes, sweeps and distilled runs leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bert_jax.probes import scores
from bert_jax.sweeps import store, trials
from bert_jax.tasks import teachers
from tests.hostile.format import Format, lines, plain
from tests.sweeps.plans import make_plan


def _write_probed(folder: Path) -> None:
    score = scores.Score(name="a.loss", total_R=np.ones(2), weight_R=np.ones(2), better="lower", unit="nats")
    part = scores.Breakdown(name="a.loss by x", axis="x", labels=("1",), values=(2.0,), counts=(3,))
    scores.write(
        folder,
        scores.Probed(step=7, settings={"pairs": 20}, scores=(score,), breakdowns=(part,), details={"b": {}}),
    )


def _write_teachers(folder: Path) -> None:
    (folder / teachers.TEACHER_FILE).write_text(
        json.dumps({"teachers": ["/models/T", {"name": "a/b", "revision": "", "commit": "0" * 40}]})
    )


def _write_attempts(folder: Path) -> None:
    """Of a trial that failed."""
    for name in ("attempts", "trials/a-seed0"):
        (folder / name).mkdir(parents=True)
    notes = [{"began": 1e9, "host": "a"}, {"ended": 1e9 + 60, "status": 1, "reason": "the disk is full"}]
    (folder / "attempts/a-seed0.jsonl").write_text(lines(notes))
    line = {"step": 3, "split": "train", "loss": 2.5, "tokens_per_s": 10.0}
    (folder / "trials/a-seed0/metrics.jsonl").write_text(lines([line]))


def formats() -> list[Format]:
    return [
        Format(
            "probe", _write_probed, lambda folder: plain(scores.read(folder)), (scores.JSON, scores.ARRAYS)
        ),
        Format(
            "sweep",
            lambda folder: store.claim(folder / "S", make_plan()),
            lambda folder: repr(store.read_plan(folder / "S")),
            ("S/sweep.json",),
        ),
        Format(
            "attempts",
            _write_attempts,
            lambda folder: plain(trials.trial_state(folder, make_plan().trials[0])),
            ("attempts/a-seed0.jsonl", "trials/a-seed0/metrics.jsonl"),
        ),
        Format("teachers", _write_teachers, teachers.saved_teachers, (teachers.TEACHER_FILE,)),
    ]
