"""Sums and weights, divided last.

Every loss and metric is a pair (sum, weight) until it is reported. Pairs add over devices, hosts,
micro-batches and steps, so all of them agree to rounding with one big batch, however unevenly the
masked tokens fall.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Sums = Mapping[str, tuple[Array, Array]]


def add(a: Sums, b: Sums) -> Sums:
    """Adds pair by pair; both have the same names."""
    return jax.tree.map(jnp.add, a, b)


def means(sums: Mapping[str, tuple]) -> dict[str, float]:
    """sum / weight of each pair as host floats; a metric of no weight is left out."""
    return {name: float(s) / float(w) for name, (s, w) in sums.items() if float(w) > 0}


def divide(total: Array, weight: Array) -> Array:
    """total / weight inside a jitted function; 0 where there is no weight (and so no gradient)."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)


def classification(name: str, logits_XC: Array, targets_X: Array, weights_X: Array) -> Sums:
    """Cross-entropy in nats and accuracy, as the pairs `{name}_loss` and `{name}_accuracy`.

    X is any leading axes, C the classes; computed in float32. A target counts as hit where no logit is
    larger: the cross-entropy needs the largest anyway, and an argmax would read the logits once more.
    """
    logits_XC = logits_XC.astype(jnp.float32)
    target_X = jnp.take_along_axis(logits_XC, targets_X[..., None], axis=-1)[..., 0]
    largest_X, log_sum_X = _largest_and_log_sum(logits_XC)
    hits_X = (target_X >= largest_X).astype(jnp.float32)
    weight = jnp.sum(weights_X)
    return {
        f"{name}_loss": (jnp.sum((log_sum_X - target_X) * weights_X), weight),
        f"{name}_accuracy": (jnp.sum(hits_X * weights_X), weight),
    }


def z_loss(logits_XC: Array, weights_X: Array) -> Sums:
    """The square of the logarithm of the softmax's normaliser, as the pair `z_loss`: it keeps logits from drifting, to
    which cross-entropy is blind (Chowdhery et al. 2022, PaLM, section 5). In float32."""
    _, log_sum_X = _largest_and_log_sum(logits_XC.astype(jnp.float32))
    return {"z_loss": (jnp.sum(jnp.square(log_sum_X) * weights_X), jnp.sum(weights_X))}


def _largest_and_log_sum(logits_XC: Array) -> tuple[Array, Array]:
    """The largest logit, without a gradient, and log sum exp of all, over C. Written alike wherever it is needed, so that
    XLA computes it once."""
    largest_X = jax.lax.stop_gradient(jnp.max(logits_XC, axis=-1))
    return largest_X, largest_X + jnp.log(jnp.sum(jnp.exp(logits_XC - largest_X[..., None]), axis=-1))


def _no_predictions(output: Any, batch: Any) -> dict[str, Array]:
    return {}


def forward_of(apply: Callable[..., Any]) -> Callable[..., Any]:
    """`Objective.forward` of a model's bound `apply` that reads no constants."""

    def forward(params: Any, constants: Any, batch: Any, dropout_key: jax.Array | None) -> Any:
        return apply({"params": params}, batch, dropout_key=dropout_key)

    return forward


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What a training step needs of a loss.

    loss = sum over `terms` of scale x (sum of the term / weight of the term). A weight depends on the batch
    alone, so `weights` can be added over the whole global batch before the first gradient, and
    gradients of the parts then add up to the gradient of the whole.
    """

    forward: Callable[..., Any]
    """(params, constants, batch, dropout_key or None) -> the model's output"""
    sums: Callable[[Any, Any], Sums]
    """(output, batch) -> every loss and metric as a pair"""
    weights: Callable[[Any], Mapping[str, Array]]
    """batch -> the weight of each term"""
    terms: Mapping[str, float]
    """the names in `sums` that make the loss, each with its scale"""
    predictions: Callable[[Any, Any], Mapping[str, Array]] = _no_predictions
    """(output, batch) -> arrays [B, ...] that the task scores over a whole evaluation set, on the host"""

    def loss(
        self, params: Any, constants: Any, batch: Any, dropout_key: Array | None, weights: Mapping[str, Array]
    ) -> tuple[Array, Sums]:
        """This batch's share of the global loss whose terms have `weights`, and its sums."""
        output = self.forward(params, constants, batch, dropout_key)
        with jax.named_scope("loss"):
            sums = self.sums(output, batch)
            shares = [scale * divide(sums[term][0], weights[term]) for term, scale in self.terms.items()]
            return jnp.sum(jnp.stack(shares)), sums

    def report(self, means: Mapping[str, float]) -> dict[str, float]:
        """Adds `loss`, the scaled sum of the terms, in front of the means."""
        loss = sum(scale * means[term] for term, scale in self.terms.items() if term in means)
        return {"loss": loss, **means}
