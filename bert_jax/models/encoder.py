"""The stack of Transformer layers, LayerNorm after each residual (post-LN), as in BERT and all after it."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig, Part
from bert_jax.models.attention import SelfAttention, Visibility
from bert_jax.models.deberta import Convolution, DisentangledAttention, RelativeTable
from bert_jax.models.layers import ACTIVATIONS, dense, dropout, dropout_keys, layer_norm

Array = jax.Array

_PARTS: dict[Part, tuple[str, ...]] = {
    "attention": ("attention", "attention_norm"),
    "ffn": ("mlp_in", "mlp_out", "mlp_norm"),
}
_DECODER_RUNS = 2  # of the last layer, in the enhanced mask decoder
_SITES = 3  # dropout in a layer: attention probabilities, attention output, MLP output


@flax.struct.dataclass
class DropoutKeys:
    """A key for every place of dropout. Rows have keys of their own; the relative table, which all rows
    read, has one a layer."""

    embeddings_B: Array
    convolution_B: Array
    layers_BN3: Array
    relative_N: Array

    @classmethod
    def of(cls, config: ModelConfig, key: Array, example_ids_B: Array) -> DropoutKeys:
        """`key` belongs to the step. N counts the runs of layers: the decoder's follow the encoder's."""
        runs = config.num_layers + _DECODER_RUNS * config.enhanced_mask_decoder
        keys = dropout_keys(key, example_ids_B, 2 + runs * _SITES)
        nobody = jnp.full(1, 2**32 - 1, jnp.uint32)
        return cls(
            embeddings_B=keys[:, 0],
            convolution_B=keys[:, 1],
            layers_BN3=keys[:, 2:].reshape(-1, runs, _SITES),
            relative_N=dropout_keys(key, nobody, runs)[0],
        )


class EncoderLayer(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + mlp(x)), dropout on each branch (Devlin et al. 2019, A.2)."""

    config: ModelConfig
    parts: tuple[Part, ...] = ("attention", "ffn")
    """what this layer has parameters for: of a layer that borrows the rest, only `init` may be run"""

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        visible: Visibility,
        keys_B3: Array | None,
        relative_RD: Array | None,
        *,
        queries_BLD: Array | None = None,
        probabilities: bool = False,
    ) -> tuple[Array, Array | None]:
        """Returns the output and, if asked for, the attention probabilities [B, H, L, T].

        keys_B3: dropout keys of the layer's three sites, or None for a deterministic pass. queries_BLD: what
        asks, and takes the residual, in place of `x_BLD` (the enhanced mask decoder).
        """
        config, att_BHLT = self.config, None
        attention_keys_B, branch_keys_B, mlp_keys_B = (None,) * 3 if keys_B3 is None else keys_B3.T
        if "attention" in self.parts:
            if relative_RD is not None:
                module = DisentangledAttention(config, name="attention")
                y_BLD, att_BHLT = module(
                    x_BLD, visible, attention_keys_B, queries_BLD=queries_BLD, relative_RD=relative_RD
                )
            else:
                attention = SelfAttention(config, name="attention")
                y_BLD, att_BHLT = attention(x_BLD, visible, attention_keys_B, probabilities=probabilities)
            y_BLD = dropout(y_BLD, config.dropout_rate, branch_keys_B)
            residual_BLD = x_BLD if queries_BLD is None else queries_BLD
            x_BLD = layer_norm(config, name="attention_norm")(residual_BLD + y_BLD)
        if "ffn" in self.parts:
            y_BLF = ACTIVATIONS[config.activation](dense(config, config.mlp_size, name="mlp_in")(x_BLD))
            y_BLD = dense(config, config.hidden_size, name="mlp_out")(y_BLF)
            y_BLD = dropout(y_BLD, config.dropout_rate, mlp_keys_B)
            x_BLD = layer_norm(config, name="mlp_norm")(x_BLD + y_BLD)
        return x_BLD, att_BHLT if probabilities else None


@flax.struct.dataclass
class Encoded:
    """What the encoder made of its input."""

    hidden_states: tuple[Array, ...]  # num_layers + 1 of [B, L, D], the input first
    attentions: tuple[Array, ...]  # num_layers of [B, H, L, T], if asked for
    decoder_BLD: Array  # the enhanced mask decoder's output, or the last hidden state


class Encoder(nn.Module):
    """`num_layers` layers. Parameters are layer_0, layer_1, ... for loop and scan alike; what layers share is
    held by the first of them."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        visible: Visibility,
        pack_ids_BL: Array,
        keys: DropoutKeys | None,
        absolute_BLD: Array | None = None,
        *,
        probabilities: bool = False,
    ) -> Encoded:
        """absolute_BLD: position embeddings, for the enhanced mask decoder alone."""
        config = self.config
        relative_RD = RelativeTable(config, name="relative")() if config.attention == "disentangled" else None
        convolution = Convolution(config, name="convolution") if config.convolution else None
        if self.is_initializing():
            return self._create(x_BLD, visible, pack_ids_BL, relative_RD, convolution)
        params = self._layer_params()
        run = _Run(config, params, visible, keys, relative_RD, probabilities=probabilities)
        states: list[Array] = [x_BLD]
        attentions: list[Any] = []
        layers = range(config.num_layers)
        if convolution:
            y_BLD, att_BHLT = run.layer(0, x_BLD)
            keys_B = None if keys is None else keys.convolution_B
            states.append(convolution(x_BLD, y_BLD, pack_ids_BL, keys_B))
            attentions.append(att_BHLT)
            layers = layers[1:]
        if config.layers == "scan" and layers:
            more_states, more_attentions = run.scan(layers, states[-1])
            states.extend(more_states)
            attentions.extend(more_attentions)
        else:
            for i in layers:
                y_BLD, att_BHLT = run.layer(i, states[-1])
                states.append(y_BLD)
                attentions.append(att_BHLT)
        decoder_BLD = states[-1] if absolute_BLD is None else run.decode(states[-2], absolute_BLD)
        return Encoded(tuple(states), tuple(attentions) if probabilities else (), decoder_BLD)

    def _create(
        self,
        x_BLD: Array,
        visible: Visibility,
        pack_ids_BL: Array,
        relative_RD: Array | None,
        convolution: Convolution | None,
    ) -> Encoded:
        """Makes the parameters, each layer's own; what it returns has the shapes of the states and no more."""
        config = self.config
        for i in range(config.num_layers):
            if parts := tuple(part for part in _PARTS if config.owner(part, i) == i):
                EncoderLayer(config, parts, name=f"layer_{i}")(x_BLD, visible, None, relative_RD)
        if convolution:
            convolution(x_BLD, x_BLD, pack_ids_BL, None)
        return Encoded((x_BLD,) * (config.num_layers + 1), (), x_BLD)

    def _layer_params(self) -> list[Any]:
        """Every layer's parameters, its own and those it shares."""
        params: Any = self.variables["params"]

        def held(part: Part, i: int) -> dict[str, Any]:
            owner = params[f"layer_{self.config.owner(part, i)}"]
            return {name: owner[name] for name in _PARTS[part]}

        return [
            {name: leaf for part in _PARTS for name, leaf in held(part, i).items()}
            for i in range(self.config.num_layers)
        ]


class _Run:
    """Layers as functions of their parameters: loop, scan and decoder run the same body."""

    def __init__(
        self,
        config: ModelConfig,
        params: list[Any],
        visible: Visibility,
        keys: DropoutKeys | None,
        relative_RD: Array | None,
        *,
        probabilities: bool,
    ):
        self.config = config
        self.params = params
        self.visible = visible
        self.keys = keys
        self.relative_RD = relative_RD
        self.probabilities = probabilities
        body = jax.checkpoint(self._body) if config.remat else self._body
        self._layer = jax.jit(body)  # traced and lowered once for all layers; XLA inlines it

    def _body(self, params, x_BLD, keys, queries_BLD=None) -> tuple[Array, Array | None]:
        """One layer; `keys` as `_keys` gives them."""
        keys_B3, relative_key = (None, None) if keys is None else keys
        relative_RD = self.relative_RD
        if relative_RD is not None and relative_key is not None:
            relative_RD = dropout(relative_RD[None], self.config.dropout_rate, relative_key[None])[0]
        layer: Any = EncoderLayer(self.config, parent=None)
        return layer.apply(
            {"params": params}, x_BLD, self.visible, keys_B3, relative_RD,
            queries_BLD=queries_BLD, probabilities=self.probabilities,
        )  # fmt: skip

    def _keys(self, run: int) -> tuple[Array, Array] | None:
        return None if self.keys is None else (self.keys.layers_BN3[:, run], self.keys.relative_N[run])

    def layer(self, i: int, x_BLD: Array) -> tuple[Array, Array | None]:
        """Layer i on its input."""
        return self._layer(self.params[i], x_BLD, self._keys(i))

    def scan(self, layers: range, x_BLD: Array):
        """One compiled layer over the parameters of all, stacked for this step; what a group shares is stacked
        once a group and picked by index. Returns the states and attentions of `layers`, as lists."""
        stacked = {
            part: _stack([self.params[i] for i in layers], part, self.config, layers) for part in _PARTS
        }
        own = {part: stack for part, (stack, index_N) in stacked.items() if index_N is None}
        groups = {part: stack for part, (stack, index_N) in stacked.items() if index_N is not None}
        index = {part: index_N for part, (_, index_N) in stacked.items() if index_N is not None}
        keys = None
        if self.keys is not None:
            window = slice(layers.start, layers.stop)
            keys = (jnp.swapaxes(self.keys.layers_BN3[:, window], 0, 1), self.keys.relative_N[window])

        def body(x_BLD, layer):
            own, index, keys = layer
            shared = {part: _at(groups[part], index[part]) for part in groups}
            params = {name: leaf for part in (own | shared).values() for name, leaf in part.items()}
            y_BLD, att_BHLT = self._body(params, x_BLD, keys)
            return y_BLD, (y_BLD, att_BHLT)

        if self.config.remat:
            body = jax.checkpoint(body, prevent_cse=False)
        _, (states_NBLD, att_NBHLT) = jax.lax.scan(body, x_BLD, (own, index, keys))
        return list(states_NBLD), [None] * len(layers) if att_NBHLT is None else list(att_NBHLT)

    def decode(self, x_BLD: Array, absolute_BLD: Array) -> Array:
        """The enhanced mask decoder (He et al. 2021a, section 3.2 and the released code): the last layer twice
        more, asking with absolute positions added, always of the states `x_BLD` that layer read."""
        queries_BLD = x_BLD + absolute_BLD.astype(x_BLD.dtype)
        for run in range(_DECODER_RUNS):
            keys = self._keys(self.config.num_layers + run)
            queries_BLD, _ = self._layer(self.params[-1], x_BLD, keys, queries_BLD)
        return queries_BLD


def _at(stacked: Any, index: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def _stack(params: list[Any], part: Part, config: ModelConfig, layers: range) -> tuple[Any, Array | None]:
    """(The part's parameters of all layers stacked, None), or of all owners and each layer's owner."""
    owners = [config.owner(part, i) for i in layers]
    unique = sorted(set(owners))
    chosen = [{name: params[owners.index(owner)][name] for name in _PARTS[part]} for owner in unique]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *chosen)
    if len(unique) == len(owners):
        return stacked, None
    return stacked, jnp.asarray([unique.index(owner) for owner in owners])
