"""A sweep's folder with made-up trials, for reports to read: scores are drawn around values given here.

`python -m tests.sweeps.reporting.finished_sweep S` writes one, to look at its report.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import config as configs
from bert_jax.config import PretrainConfig
from bert_jax.probes import scores
from bert_jax.probes.scores import Breakdown, Probed, Score
from bert_jax.sweeps import store
from bert_jax.sweeps import trials as records
from bert_jax.sweeps.definition import Column, Plan, Published, Sweep, Trial, Variant

STEPS, BATCH, LENGTH, PREDICTIONS = 400, 16, 32, 5
RATE = 50.0
"""sequences a second in every train line of seed 0"""
MEASURES = ("mlm.loss", "sop.accuracy", "held_out.mlm_loss")
QUESTION = "Does a sentence objective help, and <which>?"

# What a variant reaches on average: MLM loss, sentence-order accuracy.
VARIANTS: dict[str, tuple[float, float]] = {"none": (5.90, 0.52), "nsp": (5.91, 0.54), "sop": (5.93, 0.68)}

PUBLISHED = Published(
    source="Lan et al. 2020, table 5",
    columns=(Column("MLM", "mlm.accuracy"), Column("SOP", "sop.accuracy"), Column("SQuAD1.1")),
    rows={"None": (54.9, 53.3, "88.6/81.5"), "SOP": (54.0, 86.5, "89.3/82.3"), "XLNet": (None, None, "90")},
    variants={"None": "none", "SOP": "sop"},
)


def write(
    folder: Path,
    *,
    variants: Mapping[str, tuple[float, float]] = VARIANTS,
    seeds: Sequence[int] = (0, 1, 2),
    rows: int = 2000,
    failed: str = "",
    interrupted: str = "",
    published: Published | None = PUBLISHED,
) -> Plan:
    """A sweep of `variants` x `seeds` in `folder`: every trial finished but those named `failed` and `interrupted`."""
    objectives = {name: name if name in ("nsp", "sop") else "none" for name in variants}
    values = [
        Variant(
            name=name,
            values={"data.sentence_objective": objectives[name], "optim.learning_rate": 1e-3 * (1 + i)},
        )
        for i, name in enumerate(variants)
    ]
    sweep = Sweep(
        question=QUESTION,
        base="../bert_tiny.py",
        variants=tuple(values),
        tokens=STEPS * BATCH * LENGTH,
        seeds=tuple(seeds),
        common={"train.batch_size": BATCH},
        measures=MEASURES,
        published=published,
    )
    trials = tuple(
        Trial(variant=variant.name, seed=seed, config=_config(seed, variant.values))
        for seed in seeds
        for variant in values
    )
    plan = Plan(file="experiments/sweeps/made_up.py", sweep=sweep, reference=_config(0, {}), trials=trials)
    store.claim(folder, plan)
    hardness_R = np.random.default_rng(7).normal(0, 1, rows)
    for trial in trials:
        _trial(folder, trial, variants[trial.variant], hardness_R, failed=failed, interrupted=interrupted)
    return plan


def _config(seed: int, values: Mapping[str, Any]) -> PretrainConfig:
    raw = configs.base().to_dict()
    raw |= {"seed": seed}
    raw["model"] |= {"preset": "bert-tiny"}
    raw["train"] |= {"steps": STEPS, "batch_size": BATCH, "log_every": 50, "eval_every": 100}
    raw["data"] |= {"sequence_length": LENGTH}
    raw["optim"] |= {"warmup_steps": 10}
    raw["tokenizer"] |= {"vocab_size": 512}
    for key, value in values.items():
        group, _, name = key.partition(".")
        raw[group][name] = value
    return configs.resolve(raw)


def _trial(
    folder: Path,
    trial: Trial,
    reached: tuple[float, float],
    hardness_R: np.ndarray,
    *,
    failed: str,
    interrupted: str,
) -> None:
    rng = np.random.default_rng([trial.seed, *trial.name.encode()])
    shift = rng.normal(0, 1)
    loss, accuracy = reached[0] + 0.012 * shift, reached[1] + 0.008 * rng.normal()
    workdir = records.workdir(folder, trial)
    workdir.mkdir(parents=True, exist_ok=True)
    last = {failed: 120, interrupted: 250}.get(trial.name, STEPS)
    rate = RATE * (1 + 0.02 * trial.seed)
    lines = [line for step in range(0, last + 1, 50) for line in _lines(step, loss, accuracy, rate)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "attempts").mkdir(exist_ok=True)
    notes: list[dict[str, Any]] = [{"began": 1e9, "host": "a", "process": 1, "job": None}]
    if trial.name == failed:
        notes.append({"ended": 1e9 + 60, "status": 1, "reason": "loss or gradient is not finite at step 121"})
    elif trial.name == interrupted:
        notes.append({"ended": 1e9 + 70, "status": 143, "reason": "SIGTERM at step 250: saved"})
    else:
        notes.append({"ended": 1e9 + 180, "status": 0, "reason": ""})
        scores.write(workdir, _probed(rng, loss, accuracy, hardness_R))
    (folder / "attempts" / f"{trial.name}.jsonl").write_text(
        "".join(json.dumps(note) + "\n" for note in notes)
    )


def _lines(step: int, loss: float, accuracy: float, rate: float) -> list[dict[str, Any]]:
    decay = math.exp(-step / 90)
    lines: list[dict[str, Any]] = []
    if step:
        lines.append(
            {"step": step, "split": "train", "loss": loss + 2 * decay, "sequence_length": LENGTH}
            | {"sequences_per_s": rate, "tokens_per_s": rate * LENGTH, "mfu": 0.4}
        )
    if step % 100 == 0:
        values = {"loss": loss + 0.69 + 3 * decay, "mlm_loss": loss + 3 * decay}
        values |= {"mlm_accuracy": 0.15 * (1 - decay), "pair_accuracy": 0.5 + (accuracy - 0.5) * (1 - decay)}
        lines.append({"step": step, "split": "eval", **values, "sequence_length": LENGTH})
    return lines


def _probed(rng: np.random.Generator, loss: float, accuracy: float, hardness_R: np.ndarray) -> Probed:
    rows = len(hardness_R)
    weight_R = np.full(rows, PREDICTIONS)
    loss_R = PREDICTIONS * (loss + 0.8 * (hardness_R - hardness_R.mean()) + rng.normal(0, 0.08, rows))
    order_R = (0.7 * hardness_R + 0.7 * rng.normal(0, 1, rows)) < np.quantile(hardness_R, accuracy)
    found = (
        Score(
            name="mlm.loss", total_R=loss_R, weight_R=weight_R, better="lower", unit="nats per masked token"
        ),
        Score(
            name="mlm.accuracy",
            total_R=rng.binomial(PREDICTIONS, 0.16, rows),
            weight_R=weight_R,
            better="higher",
        ),
        Score(
            name="sop.accuracy",
            total_R=order_R.astype(float),
            weight_R=np.ones(rows),
            better="higher",
            chance=0.5,
        ),
    )
    decades = ("<1", "1-10", "10-100", "100-1,000", ">=1,000")
    places = tuple(f"{4 * k}-{4 * k + 3}" for k in range(8))
    parts = (
        Breakdown(
            name="mlm.loss by frequency",
            axis="occurrences per million tokens of training text",
            labels=decades,
            values=(None, *(loss + 3 - 1.4 * k for k in range(4))),
            counts=(0, 120, 340, 700, 840),
        ),
        Breakdown(
            name="mlm.loss by position",
            axis="position in the row",
            labels=places,
            values=tuple(loss + 0.4 / (1 + k) + 0.02 * rng.normal() for k in range(8)),
            counts=(250,) * 8,
        ),
    )
    settings = {"corpus": "abc", "pairs": rows}
    return Probed(step=STEPS, settings=settings, scores=found, breakdowns=parts)


def unreadable(folder: Path, trial: str) -> None:
    """Damages what the probes found in `trial`."""
    file = folder / "trials" / trial / scores.ARRAYS
    file.write_bytes(file.read_bytes()[:100])


if __name__ == "__main__":
    write(Path(sys.argv[1]), failed="nsp-seed1", interrupted="sop-seed2")
