"""The stack of Transformer layers, LayerNorm after each residual (post-LN), as in BERT."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.attention import SelfAttention, Visibility
from bert_jax.models.layers import ACTIVATIONS, dense, dropout, layer_norm
from bert_jax.models.presets import ModelConfig

Array = jax.Array

DROPOUT_SITES = 3  # of a layer: attention probabilities, attention output, MLP output


class EncoderLayer(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + mlp(x)), dropout on each branch (Devlin et al. 2019, A.2)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: Array, visible: Visibility, keys_B3: Array | None) -> Array:
        """`keys_B3`: dropout keys of the layer's three sites, or None for a deterministic pass."""
        config = self.config
        attention_keys_B, branch_keys_B, mlp_keys_B = (None,) * 3 if keys_B3 is None else keys_B3.T
        y_BLD = SelfAttention(config, name="attention")(x_BLD, visible, attention_keys_B)
        y_BLD = dropout(y_BLD, config.dropout_rate, branch_keys_B)
        x_BLD = layer_norm(config, name="attention_norm")(x_BLD + y_BLD)
        y_BLF = ACTIVATIONS[config.activation](dense(config, config.mlp_size, name="mlp_in")(x_BLD))
        y_BLD = dense(config, config.hidden_size, name="mlp_out")(y_BLF)
        y_BLD = dropout(y_BLD, config.dropout_rate, mlp_keys_B)
        return layer_norm(config, name="mlp_norm")(x_BLD + y_BLD)


class Encoder(nn.Module):
    """`num_layers` layers. Parameters are layer_0, layer_1, ... for loop and scan alike."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: Array, visible: Visibility, keys_BN3: Array | None) -> tuple[Array, ...]:
        """Returns the num_layers + 1 hidden states [B, L, D], the embeddings first."""
        if self.config.layers == "scan" and not self.is_initializing():
            return self._scan(x_BLD, visible, keys_BN3)
        layer_class = nn.remat(EncoderLayer) if self.config.remat else EncoderLayer
        states = [x_BLD]
        for i in range(self.config.num_layers):
            keys_B3 = None if keys_BN3 is None else keys_BN3[:, i]
            states.append(layer_class(self.config, name=f"layer_{i}")(states[-1], visible, keys_B3))
        return tuple(states)

    def _scan(self, x_BLD: Array, visible: Visibility, keys_BN3: Array | None) -> tuple[Array, ...]:
        """One compiled layer, run over the layers' parameters stacked for this step."""
        params: Any = self.variables["params"]
        layers = [params[f"layer_{i}"] for i in range(self.config.num_layers)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        keys_NB3 = None if keys_BN3 is None else jnp.swapaxes(keys_BN3, 0, 1)

        def body(x_BLD: Array, layer: tuple[Any, Array | None]) -> tuple[Array, Array]:
            layer_params, keys_B3 = layer
            module = EncoderLayer(self.config, parent=None)
            y_BLD: Any = module.apply({"params": layer_params}, x_BLD, visible, keys_B3)
            return y_BLD, y_BLD

        if self.config.remat:
            body = jax.checkpoint(body, prevent_cse=False)
        _, states_NBLD = jax.lax.scan(body, x_BLD, (stacked, keys_NB3))
        return (x_BLD, *states_NBLD)
