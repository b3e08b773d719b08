"""A student cut from its teacher: some of the layers, with embeddings and heads (Sanh et al. 2019, section 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bert_jax.config.model import shortest_pattern
from bert_jax.config.options import replaced
from bert_jax.errors import UserError
from bert_jax.models.parameters import flatten, nest
from bert_jax.tasks.load import LoadedModel

_LAYER = re.compile(r"^bert/encoder/layer_(\d+)/")


def with_layers(model: LoadedModel, layers: Sequence[int], *, option: str) -> LoadedModel:
    """`model` with these of its layers, counted from 0, in this order.

    option: by which they were named, for messages.

    Raises:
      UserError: it has no such layer; its layers share their parameters; the first is to come again, and has no norm.
    """
    config = model.config
    if config.sharing != "none":
        raise UserError(
            f"{option} must be empty for a model whose layers share parameters (sharing={config.sharing!r})"
        )
    if missing := [layer for layer in layers if layer >= config.num_layers]:
        raise UserError(
            f"{option}={','.join(map(str, layers))} must be < {config.num_layers}, the layers of the model: {missing[0]} is"
            " not"
        )
    if not config.norm.first and 0 in layers[1:]:
        raise UserError(
            f"{option}={','.join(map(str, layers))} must have layer 0 in the first place alone: in this model it has no norm"
            " before its attention"
        )
    leaves = {path: leaf for path, leaf in flatten(model.params).items() if not _LAYER.match(path)}
    for path, leaf in flatten(model.params).items():
        if found := _LAYER.match(path):
            for number in (i for i, layer in enumerate(layers) if layer == int(found[1])):
                leaves[f"bert/encoder/layer_{number}/{path[found.end() :]}"] = leaf
    chosen = {
        "num_layers": len(layers),
        "pattern": shortest_pattern([config.reach(layer) for layer in layers]),
        "norm.first": config.norm.first or layers[0] != 0,
    }
    return model._replace(config=replaced(config, chosen), params=nest(leaves), report=None)
