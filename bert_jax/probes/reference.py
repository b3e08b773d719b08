"""Which rows a run is scored on: those of a reference, so that runs of different training compare.

The text, its cleaning and its vocabulary are the run's own. How rows are cut from it and masked is the reference's,
in full-length rows, whatever objective, masks or lengths the run was trained with.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

from bert_jax import config as configs
from bert_jax.config import MaskingConfig, ModelConfig, PretrainConfig, TrainConfig
from bert_jax.errors import UserError

Pairs = Literal["nsp", "sop"]

_TEXT = ("path", "tfds_dir", "text_field", "sentences", "directory")
"""Where the text lies, and what of the data group decides its tokens."""


def rows_config(
    run: PretrainConfig, reference: PretrainConfig | None = None, *, batch_size: int = 1
) -> PretrainConfig:
    """The configuration of the held-out rows for `run`; None: its own rows, with BERT's masks.

    Only the data of it is used: its model stands in for the run's, which may lack what a rule asks of the
    objective of the rows (a pooler, for one).

    Raises:
      UserError: the run held out fewer documents than the reference, or none.
      ConfigError: the rows do not fit the run's model.
    """
    if reference is None:
        reference = dataclasses.replace(run, masking=MaskingConfig())
    ours, theirs = run.data.eval_fraction, reference.data.eval_fraction
    if not ours:
        raise UserError("config.data.eval_fraction=0: the run held no documents out to be scored on")
    if not 0 < theirs <= ours:
        raise UserError(
            f"the reference's config.data.eval_fraction={theirs} must be > 0 and <= the run's {ours}: the run was"
            " trained on documents that the reference holds out"
        )
    text = {name: getattr(run.data, name) for name in _TEXT}
    # Weights are of the run's sources; held-out rows have none, and fits see every source alike.
    data = dataclasses.replace(reference.data, **text, weights=())
    return _resolved(
        PretrainConfig(
            data=data,
            cleaning=run.cleaning,
            tokenizer=run.tokenizer,
            masking=reference.masking,
            model=ModelConfig(vocab_size=run.tokenizer.vocab_size, max_positions=run.model.max_positions),
            train=TrainConfig(batch_size=batch_size),
        )
    )


def pairs_config(rows: PretrainConfig, objective: Pairs) -> PretrainConfig:
    """Labelled pairs of segments from the same text, to fit and score a classifier on.

    One pair a row, without quirks, so that a label means one thing. Boundaries are those whose lengths do not tell it:
    of sentence order, whole sentences (cut segments tell: 55 % on novels, from lengths alone); of the next sentence,
    cut segments (another document's whole sentences fill the row otherwise: 55 % too).
    """
    data = dataclasses.replace(
        rows.data,
        sentence_objective=objective,
        format="segment_pair",
        boundaries="whole" if objective == "sop" else "cut",
        packing=1,
        quirks=(),
    )
    return _resolved(dataclasses.replace(rows, data=data))


def settings(rows: PretrainConfig, *, corpus: str, pairs: int) -> dict[str, Any]:
    """Everything that decides the rows and the fit, as JSON has it; `corpus` is the digest of the shards."""
    hidden = (*_TEXT, "weights")
    data = {name: value for name, value in dataclasses.asdict(rows.data).items() if name not in hidden}
    found = {"corpus": corpus, "data": data, "masking": dataclasses.asdict(rows.masking), "pairs": pairs}
    return json.loads(json.dumps(found))


def _resolved(config: PretrainConfig) -> PretrainConfig:
    return configs.resolve(configs.to_dict(config))
