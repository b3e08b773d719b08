"""Vectors of texts: any number of them, computed a window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from bert_jax.config.head import Pooling
from bert_jax.prediction.encoder import AT_ONCE, Encoder

WINDOW = 64 * AT_ONCE
"""Texts that are sorted by their length together, so that those of a batch are padded little."""


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
    for first in range(0, len(texts), WINDOW):
        window = texts[first : first + WINDOW]
        # All batches are started before the first is waited for.
        for places, computed_BD in list(_started(model, window, pooling)):
            vectors_ND[first + places] = computed_BD
    if normalize:
        vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
    return vectors_ND


def _started(
    model: Encoder, texts: Sequence[str], pooling: Pooling
) -> Iterator[tuple[np.ndarray, jax.Array]]:
    """(places among the texts, their vectors) of each batch, longest first, so that too long ones fail at once."""
    encodings = model.tokenizer.encode_texts(texts, max_length=model.config.max_positions)
    ids = [encoding.ids for encoding in encodings]
    order_N = np.argsort([-len(row) for row in ids], kind="stable")
    for first in range(0, len(order_N), AT_ONCE):
        places = order_N[first : first + AT_ONCE]
        yield places, model.vectors([ids[place] for place in places], pooling=pooling)
