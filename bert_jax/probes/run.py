"""Scoring a checkpoint the same way whatever it was trained on, so that runs compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.config import DistilPretrainConfig, FinetuneConfig, PretrainConfig
from bert_jax.config.finetune_rules import accuracy_faults
from bert_jax.config.phases import phases
from bert_jax.data.instances.token_counts import token_counts
from bert_jax.errors import ConfigError, UsageError
from bert_jax.models.inference import Inference
from bert_jax.probes import finetuned, mlm
from bert_jax.probes import reference as references
from bert_jax.probes.encoder import first_states, slot_predictor
from bert_jax.probes.linear import FOLDS, classify
from bert_jax.probes.pairs import labelled_pairs
from bert_jax.probes.reference import Pairs, pairs_config
from bert_jax.probes.scores import Breakdown, Probed, Score, write
from bert_jax.progress import bar
from bert_jax.tasks.evaluate import open_task
from bert_jax.tasks.load import choose_checkpoint, load_workdir

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards

PAIRS = 4_000
"""Pairs that a classifier is fitted to, unless told otherwise."""
LEAST_PAIRS = 20


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a probe is given."""

    model: Inference
    shards: TokenShards
    rows: PretrainConfig
    """the configuration of the held-out rows; see `bert_jax.probes.reference`"""
    pairs: int
    trains_mlm: bool = True
    """whether the run trained the masked-language-model head"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What a probe found."""

    scores: tuple[Score, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: str = ""
    """why it found nothing"""


@dataclasses.dataclass(frozen=True)
class Result:
    """What all probes found, and by probe why one found nothing."""

    probed: Probed
    skipped: dict[str, str]


def check_probes(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
      UsageError: one is no probe, or there is none.
    """
    unknown = [name for name in names if name not in PROBES]
    if unknown or not names:
        raise UsageError(f"--probes {','.join(unknown)}: must be of {', '.join(PROBES)}")
    return tuple(dict.fromkeys(names))


def probe(
    workdir: Path,
    *,
    probes: Sequence[str] = ("mlm", "nsp", "sop"),
    checkpoint: str = "last",
    reference: PretrainConfig | None = None,
    pairs: int = PAIRS,
    tasks: Mapping[str, FinetuneConfig] | None = None,
) -> Result:
    """Probes the checkpoint and writes W/probes.json and W/probes.npz. One process, on all of its devices.

    Args:
      reference: whose rows and masks are scored; None: the run's own rows with BERT's masks.
      pairs: that a classifier is fitted to, and at most scored on.
      tasks: experiments of classification that the checkpoint is fine-tuned on, by name.

    Raises:
      UsageError: no such probe, or too few pairs.
      UserError: no such checkpoint, no held-out documents or pairs, or the corpus is gone or changed.
      ConfigError: the reference's rows do not fit the model, or a task has no accuracy.
    """
    tasks = dict(tasks or {})
    faults = [fault for name, each in tasks.items() for fault in accuracy_faults(each, f"task {name}")]
    if faults:
        raise ConfigError(faults)
    names = check_probes(probes)
    if pairs < LEAST_PAIRS:
        raise UsageError(f"--pairs {pairs} must be >= {LEAST_PAIRS}")
    task = open_task(workdir)
    config = task.config
    rows = references.rows_config(phases(config)[-1].config, reference)
    step = choose_checkpoint(workdir, checkpoint)
    if tasks:
        finetuned.is_last(step, choose_checkpoint(workdir, "last"), tuple(tasks))
    architecture, params = load_workdir(workdir, checkpoint=str(step))
    model = Inference(architecture, params, rows=config.train.batch_size // config.train.accumulate)
    subject = Subject(model, task.shards, rows, pairs, trains_mlm=_trains_mlm(config))
    found = {name: PROBES[name](subject) for name in names}
    of_tasks = [
        finetuned.finetuned(workdir, name, experiment, step=step) for name, experiment in tasks.items()
    ]
    settings = references.settings(rows, corpus=task.shards.digest, pairs=pairs)
    probed = Probed(
        step=step,
        settings=settings | ({"tasks": finetuned.settings(tasks)} if tasks else {}),
        scores=(*(score for finding in found.values() for score in finding.scores), *of_tasks),
        breakdowns=tuple(part for finding in found.values() for part in finding.breakdowns),
        details={name: finding.details for name, finding in found.items() if finding.details},
    )
    write(workdir, probed)
    return Result(probed, {name: finding.skipped for name, finding in found.items() if finding.skipped})


def _trains_mlm(config: PretrainConfig) -> bool:
    """Not so where a student learns from hidden states or attention alone."""
    return not isinstance(config, DistilPretrainConfig) or bool(config.distil.hard or config.distil.soft)


def _mlm(subject: Subject) -> Finding:

    from bert_jax.data.batches.pipeline import Batches

    model, rows = subject.model, subject.rows
    if "mlm" not in model.heads:
        return Finding(skipped="the model has no masked-language-model head")
    if not subject.trains_mlm:
        return Finding(
            skipped="the run did not train its masked-language-model head: config.distil.hard=0 and soft=0"
        )
    train = dataclasses.replace(rows.train, batch_size=model.rows)
    batches = Batches(subject.shards, dataclasses.replace(rows, train=train), "eval")
    parts, predict = [], slot_predictor(model)
    stream = batches.iterate(0, batches.count)
    for batch in bar(stream, total=batches.count, description="mlm", unit="batches", delay=1.0):
        loss_BM, hit_BM = predict(batch)
        parts.append(
            mlm.Predictions(
                loss_BM,
                hit_BM,
                batch["mlm_targets_BM"],
                batch["mlm_positions_BM"],
                batch["mlm_weights_BM"],
            )
        )
    found = mlm.Predictions.joined(parts, len(batches.index))
    counts_V = token_counts(subject.shards, rows.data.eval_fraction)
    return Finding(
        scores=mlm.scores(found), breakdowns=mlm.breakdowns(found, counts_V, rows.data.sequence_length)
    )


def _nsp(subject: Subject) -> Finding:
    return _linear(subject, "nsp")


def _sop(subject: Subject) -> Finding:
    return _linear(subject, "sop")


def _linear(subject: Subject, objective: Pairs) -> Finding:

    config = pairs_config(subject.rows, objective)
    train = labelled_pairs(subject.shards, config, "train", limit=subject.pairs, each=FOLDS)
    held = labelled_pairs(subject.shards, config, "eval", limit=subject.pairs)
    fitted = classify(
        first_states(subject.model, train.rows, description=f"{objective}, pairs to fit to"),
        train.labels_N,
        first_states(subject.model, held.rows, description=f"{objective}, held-out pairs"),
        held.labels_N,
    )
    # How much the way rows are cut gives away: no encoder is better for knowing that.
    from_lengths = classify(train.lengths_N2, train.labels_N, held.lengths_N2, held.labels_N)
    score = Score(
        name=f"{objective}.accuracy",
        total_R=fitted.correct_R.astype(np.float64),
        weight_R=np.ones(len(held)),
        better="higher",
        chance=held.chance,
    )
    details = {
        "fitted_pairs": len(train),
        "training_accuracy": fitted.training_accuracy,
        "inverse_penalty": fitted.strength,
        "accuracy_from_lengths": float(np.mean(from_lengths.correct_R)),
    }
    return Finding(scores=(score,), details=details)


# Where a measure of a pretrained encoder joins: a name, and a function that returns Scores. What decides their rows
# joins `bert_jax.probes.reference.settings`.
PROBES: dict[str, Callable[[Subject], Finding]] = {"mlm": _mlm, "nsp": _nsp, "sop": _sop}
