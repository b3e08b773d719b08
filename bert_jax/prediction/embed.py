"""Vectors of texts: any number of them, in memory that their number does not change."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from bert_jax.config.head import Pooling
from bert_jax.prediction.batches import WINDOW, by_length
from bert_jax.prediction.encoder import Encoder

_AHEAD = 2  # batches started before the one whose vectors are waited for


def embed(
    model: Encoder, texts: Sequence[str], *, pooling: Pooling | None = None, normalize: bool = False
) -> np.ndarray:
    """One vector for each text, float32 [N, D], in the order of the texts. Long texts are cut.

    Args:
      pooling: the mean of a text's states or the state of its [CLS]; None: as the model's own embedding head has it,
        else the mean.
      normalize: make every vector one of length 1.
    """
    head = model.config.head
    pooling = pooling or (head.pooling if head.kind == "embedding" else "mean")
    vectors_ND = np.empty((len(texts), model.config.hidden_size), np.float32)
    waiting = collections.deque[tuple[np.ndarray, jax.Array]]()
    for places, ids in _batches(model, texts):
        waiting.append((places, model.vectors(ids, pooling=pooling)))
        if len(waiting) > _AHEAD:
            places, computed_BD = waiting.popleft()
            vectors_ND[places] = computed_BD
    for places, computed_BD in waiting:
        vectors_ND[places] = computed_BD
    if normalize:
        vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
    return vectors_ND


def _batches(model: Encoder, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[list[int]]]]:
    """(places among the texts, token ids) of each batch."""
    for start in range(0, len(texts), WINDOW):
        encodings = model.tokenizer.encode_texts(
            texts[start : start + WINDOW], max_length=model.config.max_positions
        )
        ids = [encoding.ids for encoding in encodings]
        for places in by_length([len(row) for row in ids]):
            yield start + places, [ids[place] for place in places]
