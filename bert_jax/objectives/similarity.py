"""Losses of two texts encoded apart: of each pair's cosine, of the order of pairs, of partners among others.

A row of a batch holds its pairs in neighbouring places: 2u and 2u + 1 are the texts of its pair u. Axis letters besides
the usual ones: U the pairs of a row, X all places of pairs of the batch, Y the same places again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.objectives.sums import Objective, Sums, classification, forward_of

Array = jax.Array
PairLoss = Literal["cosine", "cosent", "contrastive"]

_TERM: Mapping[PairLoss, str] = {
    "cosine": "mse",
    "cosent": "cosent_loss",
    "contrastive": "partner_loss",
}
_EPS = 1e-8  # the least length that a vector is divided by
_NEVER = -1e9  # the logit of a place without a pair


def unit_vectors(x_XD: Array) -> Array:
    """Vectors of length 1, float32, X any leading axes; of one shorter than 1e-8 the direction's share of it."""
    x_XD = x_XD.astype(jnp.float32)
    squares_X1 = jnp.sum(jnp.square(x_XD), axis=-1, keepdims=True)
    return x_XD * jax.lax.rsqrt(jnp.maximum(squares_X1, _EPS**2))


def pair_cosines(embeddings_BPD: Array) -> Array:
    """The cosine of each pair of a row, [B, U]."""
    units_BPD = unit_vectors(embeddings_BPD)
    return jnp.sum(units_BPD[:, 0::2] * units_BPD[:, 1::2], axis=-1)


def similarity_sums(
    embeddings_BPD: Array,
    batch: Mapping[str, Any],
    *,
    loss: PairLoss,
    scale: float = 20.0,
    low: float = 0.0,
    high: float = 1.0,
) -> Sums:
    """The (sum, weight) pairs of a batch; the weight is the number of its pairs.

    cosine: `mse`, squared difference of the cosine and the target, of which `low` stands for a cosine of 0 and `high` for
    1 (Reimers and Gurevych 2019, section 3). cosent: `cosent_loss`, one number for the whole batch, see `cosent`.
    contrastive: `partner_loss` and `partner_accuracy`, see `partners`; needs no targets.

    The last two compare each pair with all others, so `batch` must be the whole batch: their sums over its parts do not
    add up to it.
    """
    weights_BU = batch["weights_BP"][:, 0::2]
    if loss == "contrastive":
        return partners(embeddings_BPD, weights_BU.reshape(-1), scale=scale)
    targets_BU = batch["targets_BP"][:, 0::2]
    cosines_BU = pair_cosines(embeddings_BPD)
    weight = jnp.sum(weights_BU)
    if loss == "cosine":
        errors_BU = jnp.square(cosines_BU - (targets_BU - low) / (high - low))
        return {_TERM[loss]: (jnp.sum(errors_BU * weights_BU), weight)}
    value = cosent(cosines_BU.reshape(-1), targets_BU.reshape(-1), weights_BU.reshape(-1), scale=scale)
    return {_TERM[loss]: (value * weight, weight)}


def cosent(cosines_X: Array, targets_X: Array, weights_X: Array, *, scale: float) -> Array:
    """log(1 + sum of exp(scale (cos_y - cos_x)) over the x, y with target_x > target_y).

    Only the order of the targets counts (Su 2022, "CoSENT"; CoSENTLoss of sentence-transformers). 0 where no two
    targets differ.
    """
    is_there_XY = (weights_X[:, None] > 0) & (weights_X[None] > 0)
    is_ordered_XY = is_there_XY & (targets_X[:, None] > targets_X[None])
    excess_XY = scale * (cosines_X[None] - cosines_X[:, None])
    terms_XY = jnp.where(is_ordered_XY, excess_XY, -jnp.inf)
    return jax.nn.logsumexp(jnp.append(terms_XY, jnp.float32(0)))  # exp(0) is the 1


def partners(embeddings_BPD: Array, weights_X: Array, *, scale: float) -> Sums:
    """Cross-entropy of each first text's partner among all second texts, by scale x cosine, in nats; and how often the
    partner is the nearest (Henderson et al. 2017, section 4; MultipleNegativesRankingLoss of sentence-transformers).
    """
    units_BPD = unit_vectors(embeddings_BPD)
    width = units_BPD.shape[-1]
    texts_XD, partners_YD = units_BPD[:, 0::2].reshape(-1, width), units_BPD[:, 1::2].reshape(-1, width)
    logits_XY = scale * jnp.einsum("XD,YD->XY", texts_XD, partners_YD, precision="highest")
    logits_XY = jnp.where(weights_X[None] > 0, logits_XY, _NEVER)
    return classification("partner", logits_XY, jnp.arange(len(weights_X)), weights_X)


def similarity_objective(
    apply: Callable[..., Any], *, loss: PairLoss, scale: float, low: float = 0.0, high: float = 1.0
) -> Objective:
    """The loss of `similarity_sums`; predictions are the cosines, and the numbers of their pairs as `features_BP`.

    `apply` is the bound `BertWithHeads(config).apply` of a model with a head of kind "embedding".
    """
    term = _TERM[loss]

    def sums(output: Any, batch: Any) -> Sums:
        return similarity_sums(output.embeddings_BPD, batch, loss=loss, scale=scale, low=low, high=high)

    def predictions(output: Any, batch: Any) -> dict[str, Array]:
        first_BU = batch["features_BP"][:, 0::2]
        return {
            "cosines_BP": pair_cosines(output.embeddings_BPD),
            "features_BP": jnp.where(first_BU < 0, -1, first_BU // 2),
        }

    return Objective(
        forward=forward_of(apply),
        sums=sums,
        weights=lambda batch: {term: jnp.sum(batch["weights_BP"][:, 0::2])},
        terms={term: 1.0},
        predictions=predictions,
    )
