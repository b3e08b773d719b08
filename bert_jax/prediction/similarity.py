"""How alike two texts are: the cosine of their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.config.head import Pooling
from bert_jax.errors import UserError
from bert_jax.prediction.embed import embed
from bert_jax.prediction.encoder import Encoder


def similarity(
    model: Encoder, texts: Sequence[str], pairs: Sequence[str], *, pooling: Pooling | None = None
) -> np.ndarray:
    """The cosine of each text's vector and its partner's, float32 [N] in [-1, 1]. Long texts are cut.

    pooling: as `embed` has it.

    Raises:
      UserError: not as many partners as texts.
    """
    if len(texts) != len(pairs):
        raise UserError(f"{len(pairs)} partners must be as many as the {len(texts)} texts")
    units_ND = embed(model, [*texts, *pairs], pooling=pooling, normalize=True)
    texts_ND, pairs_ND = np.split(units_ND, 2)
    return np.clip(np.sum(texts_ND * pairs_ND, axis=1), -1, 1)
