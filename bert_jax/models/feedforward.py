"""The part of a layer that reads each token by itself."""

from __future__ import annotations

from collections.abc import Callable

import jax

from bert_jax.config.model import ModelConfig
from bert_jax.models.layers import ACTIVATIONS, Params, dense

Array = jax.Array


@jax.named_scope("mlp")
def feedforward(params: Params, x_BLD: Array, *, config: ModelConfig) -> Array:
    """W2 f(W1 x + b1) + b2 (Vaswani et al. 2017, eq. 2, f being GELU); with a gate W2 (f(W1 x) * W3 x) + b2 (Shazeer
    2020, eq. 6): [B, L, D].

    W1 and W3 are one kernel [D, 2, F], in this order, without biases, as in every model that has them.
    """
    if config.mlp == "gelu":
        y_BLF = ACTIVATIONS[config.activation](dense(params["mlp_in"], x_BLD))
        return dense(params["mlp_out"], y_BLF)
    gate: Callable[[Array], Array] = jax.nn.silu if config.mlp == "swiglu" else ACTIVATIONS[config.activation]
    y_BL2F = dense(params["mlp_gated_in"], x_BLD)
    return dense(params["mlp_out"], gate(y_BL2F[:, :, 0]) * y_BL2F[:, :, 1])
