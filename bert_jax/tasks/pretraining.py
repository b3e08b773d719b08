"""Masked language modelling with or without a sentence objective, on a prepared corpus."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jax

from bert_jax.batch import BatchSource, Host, Split, pretraining_spec
from bert_jax.config import ModelConfig, PretrainConfig
from bert_jax.config.phases import ResolvedPhase, phases
from bert_jax.errors import UserError
from bert_jax.models import bert
from bert_jax.models.flops import training_flops
from bert_jax.objectives.pretraining import pretraining
from bert_jax.objectives.sums import Objective
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.task import Params, Phase, Task

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards

_CORPUS_OPTIONS = ("path", "tfds_dir", "text_field", "sentences", "directory")
"""Of config.data: what decides the corpus, which its digest says, or only where it lies."""
ALONE = ""
"""Name of an encoder that is trained by itself."""


class Pretraining(Task):
    """One encoder, trained to predict masked tokens and, where rows carry a label, the relation of two segments.

    experiment: what follows `--config` in the command that prepares the corpus, for the message that it is missing.
    """

    name = "pretrain"

    def __init__(self, config: PretrainConfig, *, experiment: str = "FILE"):
        self.config = config
        self._experiment = experiment

    # What is trained -------------------------------------------------------------------------------------

    @property
    def objective(self) -> Objective:
        config = self.config
        return pretraining(
            bert.BertWithHeads(config.model).apply,
            with_pairs=config.data.sentence_objective != "none",
            z_loss=config.objective.z_loss,
        )

    def objective_in(self, phase: Phase) -> Objective:
        return self.within(phase).objective

    def within(self, phase: Phase) -> Self:
        """The task with the values of a phase, to ask for its model and objective."""
        task = copy.copy(self)
        task.config = phases(self.config)[self.phases.index(phase)].config
        return task

    def init(self, key: jax.Array) -> Params:
        return bert.init_params(self.config.model, key)

    @property
    def model(self) -> ModelConfig:
        """The architecture of the encoder to keep."""
        return next(iter(self.encoders.values()))

    @property
    def encoders(self) -> Mapping[str, ModelConfig]:
        """The architecture of every encoder that is trained, the one to keep first."""
        return {ALONE: self.config.model}

    def apart(self, params: Params) -> dict[str, Params]:
        """The parameters of every encoder, each standing alone."""
        return {ALONE: params}

    def together(self, trees: Mapping[str, Params]) -> Params:
        """The inverse of `apart`."""
        return trees[ALONE]

    def row_flops(self, config: PretrainConfig) -> float:
        """Model FLOPs to train on one row of a phase's `config` (see `training_flops`)."""
        return _row_flops(config, config.model, "mlm")

    # What it is trained on -------------------------------------------------------------------------------

    @functools.cached_property
    def phases(self) -> tuple[Phase, ...]:
        of_run = phases(self.config)
        ranks = _evaluation_ranks(of_run)
        return tuple(
            Phase(
                start=part.start,
                stop=part.stop,
                batch_size=part.config.train.batch_size,
                spec=pretraining_spec(part.config),
                flops=part.config.train.batch_size * self.row_flops(part.config),
                first_row=part.first_row,
                frozen=part.frozen,
                evaluation=rank,
            )
            for part, rank in zip(of_run, ranks, strict=True)
        )

    @functools.cached_property
    def shards(self) -> TokenShards:
        """The prepared corpus. Raises `UserError` where there is none."""
        from bert_jax.data.corpus.open import open_corpus

        return open_corpus(self.config, experiment=self._experiment)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return tokenizers.load(self.shards.folder / "tokenizer.json")

    @property
    def identity(self) -> Mapping[str, str]:
        return {"corpus": self.shards.digest}

    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        from bert_jax.data.batches.pipeline import Batches

        part = phases(self.config)[self.phases.index(phase)]
        if split == "eval" and not part.config.data.eval_fraction:
            return None
        begin = (part.start, part.first_row) if split == "train" else (0, 0)
        found = Batches(self.shards, part.config, split, host=host, begin=begin)
        objective = part.config.data.sentence_objective
        if split == "train" and objective != "none" and not found.index.has_pair_labels():
            raise UserError(
                f"config.data.sentence_objective={objective!r} has nothing to train on: no example of the training"
                f" split has a second segment, so none has a pair label; prepare documents of several sentences (a blank"
                f" line ends one in .txt), or set config.data.sentence_objective=none ({self.shards.folder})"
            )
        return found

    def rows_key(self, split: Split, phase: Phase, host: Host) -> dict[str, Any]:
        """Everything that decides the rows of `batches` and their masks, for JSON."""
        part = phases(self.config)[self.phases.index(phase)]
        data = dataclasses.asdict(part.config.data)
        key = {
            "corpus": self.shards.digest,
            "split": split,
            "part": f"{host.index + 1} of {host.count}",
            "batch_size": part.config.train.batch_size,
            "data": {name: value for name, value in data.items() if name not in _CORPUS_OPTIONS},
            "masking": dataclasses.asdict(part.config.masking),
        }
        if split == "eval":  # the same for every seed and wherever a phase begins
            return key
        return {**key, "seed": self.config.seed, "first_step": part.start, "first_row": part.first_row}

    def save(self, workdir: Path) -> None:
        self.tokenizer.save(workdir)


def _row_flops(config: PretrainConfig, model: ModelConfig, head: str) -> float:
    return training_flops(
        model, length=config.data.sequence_length, slots=config.masking.max_predictions, heads=(head,)
    )


def _evaluation_ranks(parts: tuple[ResolvedPhase, ...]) -> list[int]:
    """Which held-out scores compare: those of phases with the same rows and masks. Counted for each row length,
    which checkpoints are ranked by first."""
    seen: dict[int, list[Any]] = {}
    ranks = []
    for part in parts:
        rows = (part.config.masking, dataclasses.replace(part.config.data, weights=()))
        known = seen.setdefault(part.config.data.sequence_length, [])
        if rows not in known:
            known.append(rows)
        ranks.append(known.index(rows))
    return ranks
