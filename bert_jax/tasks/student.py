"""A student cut from its teacher: some of the layers, with embeddings and heads (Sanh et al. 2019, section 3)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from bert_jax.errors import UserError
from bert_jax.models.parameters import flatten, nest
from bert_jax.tasks.load import LoadedModel

_LAYER = re.compile(r"^bert/encoder/layer_(\d+)/")


def with_layers(model: LoadedModel, layers: Sequence[int], *, option: str) -> LoadedModel:
    """`model` with these of its layers, counted from 0, in this order.

    option: by which they were named, for messages.

    Raises:
      UserError: it has no such layer, or its layers share their parameters.
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
    leaves = {path: leaf for path, leaf in flatten(model.params).items() if not _LAYER.match(path)}
    for path, leaf in flatten(model.params).items():
        if found := _LAYER.match(path):
            for number in (i for i, layer in enumerate(layers) if layer == int(found[1])):
                leaves[f"bert/encoder/layer_{number}/{path[found.end() :]}"] = leaf
    return model._replace(
        config=dataclasses.replace(config, num_layers=len(layers)), params=nest(leaves), report=None
    )
