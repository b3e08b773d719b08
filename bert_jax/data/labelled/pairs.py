"""Pairs of texts that are encoded apart, as features: two sequences of each, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.data.labelled.examples import TextExample
from bert_jax.data.labelled.features import Features
from bert_jax.progress import bar
from bert_jax.text.tokenizer import Tokenizer

_AT_ONCE = 2048  # pairs tokenised together


def pair_features(examples: Sequence[TextExample], tokenizer: Tokenizer, *, max_length: int) -> Features:
    """Features of two sequences a pair, each cut to `max_length` tokens by itself, both of segment type 0.

    targets_P (float32) is the pair's number, the same for both; without labels there is none.
    """
    ids: list[np.ndarray] = []
    cut = 0
    for first in bar(range(0, len(examples), _AT_ONCE), description="tokenising", unit="batches", delay=1.0):
        part = examples[first : first + _AT_ONCE]
        texts = [text or "" for example in part for text in (example.text, example.text_pair)]
        encodings = tokenizer.encode_texts(texts, max_length=max_length)
        ids += [np.array(encoding.ids, np.int32) for encoding in encodings]
        is_cut = [bool(encoding.overflowing) for encoding in encodings]
        cut += sum(a or b for a, b in zip(is_cut[0::2], is_cut[1::2], strict=True))
    tokens_T = np.concatenate(ids)
    targets: dict[str, np.ndarray] = {}
    if examples[0].label is not None:
        targets["targets_P"] = np.repeat(np.array([example.label for example in examples], np.float32), 2)
    return Features(
        tokens_T=tokens_T,
        type_ids_T=np.zeros(len(tokens_T), np.uint8),
        lengths_S=np.array([len(row) for row in ids], np.int32),
        examples_S=np.repeat(np.arange(len(examples), dtype=np.int32), 2),
        of_sequences=targets,
        parts=2,
        cut=cut,
    )
