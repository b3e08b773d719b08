"""The stack of Transformer layers: a loop or a scan over one function, `block.layer`.

flax's `nn.scan` is not used. It would keep the parameters of all layers stacked in one array, and so change the
parameter tree with `layers`; here they are layer_0, layer_1, ... for loop and scan alike, so a checkpoint suits
both. The price: the scan stacks them in each step, a copy of the layers' parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig, Part, Reach, Remat
from bert_jax.models.attention import AttentionMask, Internals, Item
from bert_jax.models.block import PARTS, LayerContext, LayerKeys, LayerSpec, layer, layer_pattern, recomputed
from bert_jax.models.deberta import convolution, relative_table
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.layers import Params, dropout_keys, norm
from bert_jax.models.rotary import rotation

Array = jax.Array
LayerFunction = Callable[..., tuple[Array, Internals]]
"""`layer` with config and context bound: (params, x_BLD, *, keys, queries_BLD) -> (y_BLD, internals)"""
Record = Mapping[int, frozenset[Item]]
"""What is recorded of the attention of which layers, by their numbers from 0."""


def every_layer(config: ModelConfig, *items: Item) -> Record:
    """`items` of every layer."""
    return dict.fromkeys(range(config.num_layers), frozenset(items))


@flax.struct.dataclass
class DropoutKeys:
    """A key for every dropout site of a forward pass."""

    embeddings_B: Array
    convolution_B: Array
    layers: tuple[LayerKeys, ...]
    """one for each of `ModelConfig.layer_passes`"""

    @classmethod
    def of(cls, config: ModelConfig, key: Array, example_ids_B: Array) -> DropoutKeys:
        """`key` belongs to the step; a row's keys are those of its example."""
        passes = config.layer_passes
        keys = dropout_keys(key, example_ids_B, 2 + 3 * passes)
        no_example = jnp.full(1, 2**32 - 1, jnp.uint32)
        relative_keys = dropout_keys(key, no_example, passes)
        layers = tuple(
            LayerKeys(
                probabilities_B=keys[:, 2 + 3 * n],
                attention_B=keys[:, 3 + 3 * n],
                mlp_B=keys[:, 4 + 3 * n],
                relative_1=relative_keys[:, n],
            )
            for n in range(passes)
        )
        return cls(embeddings_B=keys[:, 0], convolution_B=keys[:, 1], layers=layers)


@flax.struct.dataclass
class Encoded:
    """The encoder's output."""

    hidden_states: tuple[Array, ...]
    """num_layers + 1 of [B, L, D], the input first; a norm after the last layer is in the last one"""
    internals: Mapping[int, Internals]
    """of the attention of every layer that was to be recorded"""
    decoder_BLD: Array
    """the enhanced mask decoder's output, or the last hidden state"""


class Encoder(nn.Module):
    """`num_layers` layers. What layers share is held by the first of them (`LayerSpec.owners`)."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        mask: AttentionMask,
        *,
        positions_BL: Array,
        keys: DropoutKeys | None,
        absolute_BLD: Array | None = None,
        record: Record = MappingProxyType({}),
    ) -> Encoded:
        """See `encode`."""
        params = self._parameters()
        if self.is_initializing():  # the parameters are made; of the output only the shapes matter
            return Encoded((x_BLD,) * (self.config.num_layers + 1), {}, x_BLD)
        return encode(
            params, x_BLD, config=self.config, mask=mask, positions_BL=positions_BL, keys=keys,
            absolute_BLD=absolute_BLD, record=record,
        )  # fmt: skip

    def _parameters(self) -> Params:
        """{"layers": for every layer the parameters that it holds and those that it shares, "norm", "relative",
        "convolution"}, the last three where the config has them."""
        config, pattern = self.config, layer_pattern(self.config)
        rows = rows_below("bert/encoder", config)
        layer_rows = rows.pop("layer_{i}")
        names = {part: [name for name in PARTS[part] if name in layer_rows] for part in PARTS}
        held = {
            f"layer_{i}": {
                name: layer_rows[name] for part in PARTS if spec.owners[part] == i for name in names[part]
            }
            for i, spec in enumerate(pattern)
        }
        if pattern[0].is_first_without_norm:
            del held["layer_0"]["attention_norm"]
        params = declare(self, rows | held, config=config)
        layers = [
            {
                name: params[f"layer_{spec.owners[part]}"][name]
                for part in PARTS
                for name in names[part]
                if name in params[f"layer_{spec.owners[part]}"]
            }
            for spec in pattern
        ]
        return {"layers": layers, **{name: params[name] for name in rows}}


def encode(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    mask: AttentionMask,
    positions_BL: Array,
    keys: DropoutKeys | None,
    absolute_BLD: Array | None,
    record: Record,
) -> Encoded:
    """The layers of `layer_pattern` one after the other, then a norm where layers have theirs before their blocks, or
    the enhanced mask decoder where there is one.

    params: as `Encoder` declares them. absolute_BLD: position embeddings, for the enhanced mask decoder alone.
    record: layers whose attention's internals are given.
    """
    pattern, layers = layer_pattern(config), params["layers"]
    context = _context(params, config=config, mask=mask, positions_BL=positions_BL)

    @functools.cache
    def apply(items: frozenset[Item], reach: Reach) -> LayerFunction:
        """`layer`, which XLA inlines; traced and lowered once for all layers that are alike."""
        function = functools.partial(layer, config=config, reach=reach, context=context, record=items)
        return jax.jit(recomputed(function, config.remat))

    plain = frozenset[Item]()
    layer_keys = (LayerKeys(),) * config.layer_passes if keys is None else keys.layers

    states: list[Array] = [x_BLD]
    internals: dict[int, Internals] = {}
    for piece in _pieces(pattern, config, record):
        if piece.stop - piece.start > 1:
            functions = [
                functools.partial(layer, config=config, reach=spec.reach, context=context)
                for spec in pattern[piece][: len(config.pattern)]
            ]
            states += _scan(
                functions, layers[piece], states[-1], pattern=pattern[piece], keys=layer_keys[piece],
                remat=config.remat,
            )  # fmt: skip
            continue
        i = piece.start
        y_BLD, found = apply(record.get(i, plain), pattern[i].reach)(
            layers[i], states[-1], keys=layer_keys[i]
        )
        if pattern[i].convolution:
            y_BLD = convolution(
                params["convolution"], states[-1], config=config, layer_BLD=y_BLD, pack_ids_BL=mask.pack_ids_BL,
                keys_B=None if keys is None else keys.convolution_B,
            )  # fmt: skip
        states.append(y_BLD)
        if i in record:
            internals[i] = found

    if "norm" in params:
        states[-1] = norm(params["norm"], states[-1], config=config.norm)
    decoder_BLD = states[-1]
    if absolute_BLD is not None:
        decoder_keys = layer_keys[len(pattern) :]
        decoder_BLD = _mask_decoder(
            apply(plain, pattern[-1].reach),
            layers[-1],
            states[-2],
            absolute_BLD=absolute_BLD,
            keys=decoder_keys,
        )
    return Encoded(tuple(states), internals, decoder_BLD)


def _context(
    params: Params, *, config: ModelConfig, mask: AttentionMask, positions_BL: Array
) -> LayerContext:
    relative_RD = relative_table(params["relative"], config=config) if "relative" in params else None
    if config.positions != "rotary":
        return LayerContext(mask, relative_RD)
    bases: dict[Reach, float] = {"global": config.rotary.base, "local": config.rotary.local_base}
    turns = {
        reach: rotation(positions_BL, base=bases[reach], head_dim=config.head_dim)
        for reach in dict.fromkeys(config.pattern)
    }
    return LayerContext(mask, turns=turns)


def _pieces(pattern: Sequence[LayerSpec], config: ModelConfig, record: Record) -> Iterator[slice]:
    """The layers in order: with a scan, runs of whole periods of the pattern of reaches; one by one what is left over,
    layers that differ from the rest or are recorded, and without a scan all."""
    period, start = len(config.pattern), 0
    alone = [i for i, spec in enumerate(pattern) if config.layers == "loop" or spec.is_alone or i in record]
    for stop in [*alone, len(pattern)]:
        whole = (stop - start) // period * period
        if whole > period:
            yield slice(start, start + whole)
            start += whole
        yield from (slice(i, i + 1) for i in range(start, min(stop + 1, len(pattern))))
        start = stop + 1


def _scan(
    functions: Sequence[LayerFunction],
    layers: Sequence[Params],
    x_BLD: Array,
    *,
    pattern: Sequence[LayerSpec],
    keys: Sequence[LayerKeys],
    remat: Remat,
) -> list[Array]:
    """The states of `layers` by one compiled period, whose layers' parameters are stacked for this step.

    functions: one for each layer of a period.
    """
    period = len(functions)
    places = [_Stacked.of(layers[q::period], pattern[q::period], keys[q::period]) for q in range(period)]

    def body(x_BLD: Array, inputs: Any) -> tuple[Array, list[Array]]:
        states = []
        for apply, place, (own, index, layer_keys) in zip(functions, places, inputs, strict=True):
            x_BLD, _ = apply(place.layer(own, index), x_BLD, keys=layer_keys)
            states.append(x_BLD)
        return x_BLD, states

    body = recomputed(body, remat, prevent_cse=False)
    _, states_NBLD = jax.lax.scan(body, x_BLD, [(place.own, place.index, place.keys) for place in places])
    return [state for states in zip(*states_NBLD, strict=True) for state in states]


@dataclasses.dataclass(frozen=True)
class _Stacked:
    """The layers at one place of every period, leaves with a leading axis N.

    A part that layers share is stacked once for each owner, and a layer picks it by index.
    """

    own: dict[str, Any]
    shared: dict[Part, Any]
    index: dict[Part, Array]
    keys: Any

    @classmethod
    def of(
        cls, layers: Sequence[Params], pattern: Sequence[LayerSpec], keys: Sequence[LayerKeys]
    ) -> _Stacked:
        own: dict[str, Any] = {}
        shared: dict[Part, Any] = {}
        index: dict[Part, Array] = {}
        for part, names in PARTS.items():
            owners = [spec.owners[part] for spec in pattern]
            unique = sorted(set(owners))
            first = [layers[owners.index(owner)] for owner in unique]
            present = [name for name in names if name in first[0]]
            stacked = _stack([{name: params[name] for name in present} for params in first])
            if len(unique) == len(owners):
                own |= stacked
            else:
                shared[part], index[part] = stacked, jnp.asarray([unique.index(owner) for owner in owners])
        return cls(own, shared, index, _stack(keys))

    def layer(self, own: Params, index: Mapping[Part, Array]) -> Params:
        """The parameters of the layer whose own ones and indexes of shared ones these are."""
        picked = dict(own)
        for part, stacked in self.shared.items():
            picked |= jax.tree.map(lambda leaf, i=index[part]: leaf[i], stacked)
        return picked


def _stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one tree, whose leaves have a leading axis N."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _mask_decoder(
    apply: LayerFunction, params: Params, x_BLD: Array, *, absolute_BLD: Array, keys: Sequence[LayerKeys]
) -> Array:
    """The enhanced mask decoder (He et al. 2021a, section 3.2 and the released code): [B, L, D].

    The last layer is applied again, once for each of `keys`. Keys and values are always those of `x_BLD`, the states
    that layer has read before; the first queries are these states plus the absolute positions, the next ones the
    previous output.
    """
    queries_BLD = x_BLD + absolute_BLD.astype(x_BLD.dtype)
    for pass_keys in keys:
        queries_BLD, _ = apply(params, x_BLD, keys=pass_keys, queries_BLD=queries_BLD)
    return queries_BLD
