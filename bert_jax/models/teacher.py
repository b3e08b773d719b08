"""A frozen model that others learn from, cut down to what is read of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import Batch
from bert_jax.config.head import HeadConfig
from bert_jax.config.model import ModelConfig
from bert_jax.models import bert
from bert_jax.models.encoder import Record
from bert_jax.models.parameters import flatten, nest


@dataclasses.dataclass(frozen=True)
class Needs:
    """What losses read of a model."""

    heads: tuple[str, ...] = ()
    """of "mlm", "task" """
    states: int = 0
    """the last of `Output.hidden_states` that is read; 0: the embeddings alone, N: the last layer's"""
    record: Record = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A model whose forward pass has no layer and no head that nothing reads, nor their parameters."""

    config: ModelConfig
    heads: tuple[str, ...]
    record: Record
    params: Mapping[str, Any]
    """NumPy, of the type that the model computes in"""

    def __call__(self, params: Mapping[str, Any], batch: Batch) -> bert.Output:
        """The output without dropout, through which no gradient passes. params: this teacher's, on the devices."""
        model = bert.BertWithHeads(self.config, self.heads)
        output: Any = model.apply({"params": jax.lax.stop_gradient(params)}, batch, record=self.record)
        return jax.lax.stop_gradient(output)


def trimmed(config: ModelConfig, params: Mapping[str, Any], needs: Needs, *, dtype: str) -> Teacher:
    """The teacher that gives what `needs` says: layers above the last one that is read are gone.

    Layers that share parameters, DeBERTa's mask decoder and encoders with a norm after the last layer stay whole.

    dtype: of parameters and computation.
    """
    wants_task = "task" in needs.heads
    reads_pooler = wants_task and config.head.hidden == "pooler" and config.head.outputs > 0
    depth = config.num_layers if needs.heads else max(needs.states, max(needs.record, default=-1) + 1)
    # Of states that are normalised before each block, only the last one passes the final norm.
    cut = config.sharing == "none" and config.norm.place == "after" and depth < config.num_layers
    config = dataclasses.replace(
        config,
        num_layers=max(1, depth) if cut else config.num_layers,
        pooler=config.pooler if reads_pooler else "none",
        head=config.head if wants_task else HeadConfig(),
        relative=dataclasses.replace(
            config.relative, mask_decoder=config.relative.mask_decoder and "mlm" in needs.heads
        ),
        dropout_rate=0.0,
        attention_dropout_rate=0.0,
        dtype=dtype,  # type: ignore[arg-type]
    )
    heads = tuple(name for name in needs.heads if name != "task")
    shapes = jax.eval_shape(lambda key: bert.init_params(config, key, heads), jax.random.key(0))
    leaves, kept = flatten(params), flatten(shapes)
    made = {path: np.asarray(leaves[path]).astype(jnp.dtype(dtype)) for path in kept}
    return Teacher(config, heads, needs.record, nest(made))
