"""DeBERTa's attention in NumPy, as its paper writes it: a pair of tokens at a time, in float64."""

import math

import jax
import numpy as np


def delta(i, j, config):
    """Eq. 3; with buckets, the v2 release's make_log_bucket_position first."""
    span, distance = config.relative.buckets or config.relative.span, i - j
    middle = config.relative.buckets // 2
    if config.relative.buckets and abs(distance) > middle:
        growth = math.log(abs(distance) / middle) / math.log((config.relative.span - 1) / middle)
        bucket = math.ceil(growth * (middle - 1)) + middle
        distance = bucket if distance > 0 else -bucket
    if distance <= -span:
        return 0
    return 2 * span - 1 if distance >= span else distance + span


def loops(config, params, x, queries, table, *, real, row=delta):
    """Eq. 4 a pair at a time, in float64: the outputs [B, L, D] and the probabilities [B, H, L, L].

    real: bool [B, L], the tokens that are no padding. row: the table's row of the p2c term.
    """
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def project(name, value):
        return np.einsum("...D,DHK->...HK", value, params[name]["kernel"]) + params[name].get("bias", 0)

    shared = config.relative.projections == "shared"
    terms = config.relative.terms
    q, k, v = project("query", queries), project("key", x), project("value", x)
    position_k = project("key" if shared else "position_key", table) if "c2p" in terms else None
    position_q = project("query" if shared else "position_query", table) if "p2c" in terms else None
    batch, length, heads, width = q.shape
    y, att = np.zeros(q.shape), np.zeros((batch, heads, length, length))
    for b, h, i in np.ndindex(batch, heads, length):
        scores = np.full(length, -np.inf)
        for j in np.flatnonzero(real[b]):
            scores[j] = q[b, i, h] @ k[b, j, h]
            if "c2p" in terms:
                scores[j] += q[b, i, h] @ position_k[delta(i, j, config), h]
            if "p2c" in terms:
                scores[j] += k[b, j, h] @ position_q[row(i, j, config), h]
        exps = np.exp((scores - scores.max()) / math.sqrt((1 + len(terms)) * width))
        att[b, h, i] = exps / exps.sum()
        y[b, i, h] = att[b, h, i] @ v[b, :, h]
    return np.einsum("BLHK,HKD->BLD", y, params["output"]["kernel"]) + params["output"]["bias"], att
