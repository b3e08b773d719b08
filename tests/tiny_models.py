"""A model of three small layers over a vocabulary of whole words, as a folder of ours."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from bert_jax.config.presets import PRESETS
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer


def save_tiny(folder: Path, words: Sequence[str], *, seed: int = 0, **changes) -> Path:
    """Writes bert-tiny, smaller still and without dropout, with other `changes` of its ModelConfig."""
    entries = [*kinds.SPECIAL["wordpiece"].values(), *words]
    tokenizer = Tokenizer(kinds.wordpiece({token: i for i, token in enumerate(entries)}, lowercase=True))
    small = {
        "vocab_size": len(entries), "hidden_size": 32, "num_heads": 2, "mlp_size": 64, "num_layers": 3,
        "max_positions": 48, "dropout_rate": 0.0, "attention_dropout_rate": 0.0,
    }  # fmt: skip
    model = dataclasses.replace(PRESETS["bert-tiny"], **(small | changes))
    params = bert.init_params(model, jax.random.key(seed))
    native.save_native(folder, params, config=model, tokenizer=tokenizer)
    return folder
