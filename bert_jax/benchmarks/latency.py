"""Measures one forward pass of the encoder: the time that a single short text waits for its states."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.huggingface_tasks import forward
from bert_jax.benchmarks.timing import calls_per_second
from bert_jax.config import PretrainConfig
from bert_jax.interop.save import save_hf
from bert_jax.models import bert
from bert_jax.models.inference import Inference
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer


def measure(
    config: PretrainConfig,
    *,
    batch: int,
    length: int,
    seconds: float,
    repeats: int,
    baseline: Literal["hf"] | None = None,
) -> dict[str, Any]:
    """Milliseconds of a forward pass of `batch` rows of `length` tokens on the first device: the encoder and its
    pooler, random weights, states on the host; the median of `repeats` measurements of `seconds`.

    baseline: hf measures Hugging Face's PyTorch model with the same weights in turns with it.

    Raises:
      UserError: the baseline is not installed.
    """
    if baseline:
        huggingface.installed()
    model = dataclasses.replace(config.model, dropout_rate=0.0, attention_dropout_rate=0.0)
    params = bert.init_params(model, jax.random.key(0), ())
    tokens_BL = np.random.default_rng(0).integers(5, model.vocab_size, (batch, length), np.int32)
    types_BL, mask_BL = np.zeros_like(tokens_BL), np.ones(tokens_BL.shape, bool)
    inference = Inference(model, params, devices=jax.devices()[:1])
    calls: dict[str, Callable[[], None]] = {
        "native": lambda: np.asarray(inference(tokens_BL, types_BL, mask_BL).hidden_BLD)  # type: ignore[dict-item]
    }
    with tempfile.TemporaryDirectory(prefix="bert_jax-") as folder:
        if baseline:
            out = Path(folder) / "hf"
            save_hf(out, params, config=model, tokenizer=_any_tokenizer(model.vocab_size))
            calls["hf"] = forward(out, tokens_BL, dtype=model.dtype)
        rates = calls_per_second(calls, seconds=seconds, repeats=repeats)
    values: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "model": config.model.preset,
        "dtype": model.dtype,
        "batch": [batch, length],
    }
    values |= {f"{name}_ms": 1000 / rate for name, rate in rates.items()}
    return values | ({"ratio": rates["native"] / rates["hf"]} if baseline else {})


def _any_tokenizer(size: int) -> Tokenizer:
    """A vocabulary of `size` entries; ids are all that is used."""
    special = [*kinds.SPECIAL["wordpiece"].values()]
    words = [f"w{number}" for number in range(size - len(special))]
    return Tokenizer(kinds.wordpiece({word: i for i, word in enumerate([*special, *words])}, lowercase=True))
