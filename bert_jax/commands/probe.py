"""Measures a pretrained encoder the same way whatever it was trained on, so that runs compare.

  mlm  loss and accuracy on held-out rows, also by token frequency and by position
  nsp  next-sentence prediction: a linear classifier on the frozen [CLS] state
  sop  sentence order: the same

Rows, masks and pairs are the same for every run over a corpus and every seed. They are those of --like's
configuration, else of the run's own with BERT's masks. Writes probes.json and probes.npz into the workdir, prints a
table, and last one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax import config as configs
from bert_jax.commands import refuse_overrides
from bert_jax.config import Config
from bert_jax.config.phases import phases
from bert_jax.errors import UsageError, UserError
from bert_jax.probes.scores import Breakdown, Probed, Score, write

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards
    from bert_jax.probes.encoder import FrozenEncoder
    from bert_jax.probes.reference import Pairs

PAIRS = 4_000
_LEAST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a pretraining run")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, or a step")
    parser.add_argument(
        "--probes", default=",".join(PROBES), help=f"which, comma-separated (default {','.join(PROBES)})"
    )
    parser.add_argument(
        "--like",
        metavar="EXPERIMENT",
        help="experiment file whose rows and masks the run is scored on, over the run's own text (default: the"
        " run's own rows, with BERT's masks)",
    )
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help=f"pairs a classifier is fitted to (default {PAIRS})"
    )


def main(args: argparse.Namespace) -> None:
    if args.like is None:
        refuse_overrides(args, "it changes --like's configuration, and there is none")
    run(
        args.workdir,
        probes=[name for part in args.probes.split(",") if (name := part.strip())],
        checkpoint=args.checkpoint,
        reference=None if args.like is None else configs.load(args.like, args.overrides),
        pairs=args.pairs,
    )


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a probe is given."""

    encoder: FrozenEncoder
    shards: TokenShards
    rows: Config
    """the configuration of the held-out rows; see `bert_jax.probes.reference`"""
    pairs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What a probe found."""

    scores: tuple[Score, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: str = ""
    """why it found nothing"""


def run(
    workdir: Path,
    *,
    probes: Sequence[str] = ("mlm", "nsp", "sop"),
    checkpoint: str = "last",
    reference: Config | None = None,
    pairs: int = PAIRS,
) -> Probed:
    """Probes the checkpoint, writes W/probes.json and W/probes.npz, prints and returns what was found.

    One process, on all of its devices.

    Args:
      reference: whose rows and masks are scored; None: the run's own rows with BERT's masks.
      pairs: that a classifier is fitted to, and at most scored on.

    Raises:
      UsageError: no such probe, or too few pairs.
      UserError: no such checkpoint, no held-out documents or pairs, or the corpus is gone or changed.
      ConfigError: the reference's rows do not fit the model.
    """
    names = tuple(dict.fromkeys(probes))
    unknown = [name for name in names if name not in PROBES]
    if unknown or not names:
        raise UsageError(f"--probes {','.join(unknown)!s}: must be of {', '.join(PROBES)}")
    if pairs < _LEAST:
        raise UsageError(f"--pairs {pairs} must be >= {_LEAST}")

    from bert_jax.data.corpus.open import open_corpus
    from bert_jax.probes import reference as references
    from bert_jax.training.workdir import read_config

    config, digest = read_config(workdir)
    rows = references.rows_config(phases(config)[-1].config, reference)
    shards = open_corpus(config)
    if shards.digest != digest:
        raise UserError(f"{shards.folder} has digest {shards.digest}, the run was trained on {digest}")

    step, encoder = _load(workdir, config, checkpoint)
    subject = Subject(encoder, shards, rows, pairs)
    found = {name: PROBES[name](subject) for name in names}
    probed = Probed(
        step=step,
        settings=references.settings(rows, corpus=digest, pairs=pairs),
        scores=tuple(score for finding in found.values() for score in finding.scores),
        breakdowns=tuple(part for finding in found.values() for part in finding.breakdowns),
        details={name: finding.details for name, finding in found.items() if finding.details},
    )
    write(workdir, probed)
    _print(workdir, probed, {name: finding.skipped for name, finding in found.items() if finding.skipped})
    return probed


def _load(workdir: Path, config: Config, checkpoint: str) -> tuple[int, FrozenEncoder]:
    from bert_jax import api
    from bert_jax.probes.encoder import FrozenEncoder
    from bert_jax.training.checkpoint import Checkpoints

    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{workdir} has no checkpoints: the run saved none yet")
    with Checkpoints(folder, read_only=True) as checkpoints:
        step = checkpoints.choose(checkpoint)
    model, params = api.load_workdir(workdir, checkpoint=str(step))
    rows = config.train.batch_size // config.train.accumulate
    return step, FrozenEncoder(model, params, batch_size=rows)


def _mlm(subject: Subject) -> Finding:
    from bert_jax.data.batches.pipeline import Batches
    from bert_jax.probes import mlm
    from bert_jax.probes.frequency import token_counts
    from bert_jax.progress import bar

    encoder, rows = subject.encoder, subject.rows
    if "mlm" not in encoder.heads:
        return Finding(skipped="the model has no masked-language-model head")
    train = dataclasses.replace(rows.train, batch_size=encoder.rows)
    batches = Batches(subject.shards, dataclasses.replace(rows, train=train), "eval")
    parts = []
    stream = batches.iterate(0, batches.count)
    for batch in bar(stream, total=batches.count, description="mlm", unit="batches", delay=1.0):
        loss_BM, hit_BM = encoder.predict(batch)
        slots = (batch[f"mlm_{name}_BM"] for name in ("targets", "positions", "weights"))
        parts.append(mlm.Predictions(loss_BM, hit_BM, *slots))
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
    import numpy as np

    from bert_jax.probes.linear import FOLDS, classify
    from bert_jax.probes.pairs import labelled_pairs
    from bert_jax.probes.reference import pairs_config

    config = pairs_config(subject.rows, objective)
    train = labelled_pairs(subject.shards, config, "train", limit=subject.pairs, each=FOLDS)
    held = labelled_pairs(subject.shards, config, "eval", limit=subject.pairs)
    fitted = classify(
        subject.encoder.first_states(train.rows, description=f"{objective}, pairs to fit to"),
        train.labels_N,
        subject.encoder.first_states(held.rows, description=f"{objective}, held-out pairs"),
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


# Where a measure of a pretrained encoder joins, such as a fine-tuned task's score: a name, and a function that
# returns Scores. What decides their rows joins `bert_jax.probes.reference.settings`.
PROBES: dict[str, Callable[[Subject], Finding]] = {"mlm": _mlm, "nsp": _nsp, "sop": _sop}


def _print(workdir: Path, probed: Probed, skipped: dict[str, str]) -> None:
    from bert_jax.console import table

    rows = {score.name: _described(score) for score in probed.scores}
    for name, details in probed.details.items():
        rows[f"{name} fit"] = (
            f"{details['training_accuracy']:.4f} on its own {details['fitted_pairs']:,} pairs; lengths alone give"
            f" {details['accuracy_from_lengths']:.4f}"
        )
    rows |= {name: f"left out: {reason}" for name, reason in skipped.items()}
    table(f"{workdir} at step {probed.step}, held-out documents", rows)
    for axis in dict.fromkeys(part.axis for part in probed.breakdowns):
        print()
        table(axis, _broken_down([part for part in probed.breakdowns if part.axis == axis]))
    print(json.dumps({"step": probed.step, **{score.name: score.value for score in probed.scores}}))


def _described(score: Score) -> str:
    from bert_jax.commands.evaluate import standard_error

    weight = float(score.weight_R.sum())
    text = f"{score.value:.4f} {score.unit}".strip()
    if score.chance is None:
        return f"{text} over {weight:,.0f}"
    error = standard_error(score.value, weight)
    return f"{text} +- {error:.4f} (standard error) over {weight:,.0f}; chance {score.chance:.4f}"


def _broken_down(parts: Sequence[Breakdown]) -> dict[str, str]:
    """The measures of each label; the parts share their labels and counts."""
    rows = {}
    for number, (label, count) in enumerate(zip(parts[0].labels, parts[0].counts, strict=True)):
        measures = {part.name.partition(" ")[0]: part.values[number] for part in parts}
        shown = [f"{name} {value:.4f}" for name, value in measures.items() if value is not None]
        rows[label] = "   ".join([*shown, f"over {count:,}"])
    return rows
