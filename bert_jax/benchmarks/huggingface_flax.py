"""Hugging Face's last Flax BERT, `FlaxBertForMaskedLM` of transformers 4: its training step, to be compiled and counted.

The step is that of its `examples/flax/language-modeling/run_mlm_flax.py`: the head projects all positions to the
vocabulary, the loss is a one-hot cross entropy on the masked ones, and AdamW updates. There it is run by pmap; here rows
are split over the chips of a mesh under jit, as the native step's are, and the compiler adds the same sum of gradients.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_jax.config import PretrainConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop.config_json import config_to_hf

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def check(config: PretrainConfig) -> None:
    """Checks that `compile_step` can run: the configuration first, then what is installed.

    Raises:
      ConfigError: Hugging Face's class has no such step.
      UserError: no transformers is installed, or one without Flax models.
    """
    faults = []
    if config.model.family != "bert":
        faults.append(f"is BERT alone: config.model.family={config.model.family!r} must be 'bert'")
    if config.objective.name != "mlm":
        faults.append(f"has no such objective: config.objective.name={config.objective.name!r} must be 'mlm'")
    if config.data.packing > 1:
        faults.append(f"has no packed rows: config.data.packing={config.data.packing} must be 1")
    if config.train.accumulate > 1:
        faults.append(f"has no accumulation: config.train.accumulate={config.train.accumulate} must be 1")
    if faults:
        raise ConfigError([f"--baseline hf-flax {fault}" for fault in faults])
    try:
        config_to_hf(config.model, pad_token_id=0)
    except UserError as error:
        raise ConfigError([f"--baseline hf-flax is BERT alone: {error}"]) from None
    version = installed_version()
    if not has_flax(version):
        raise UserError(
            f"--baseline hf-flax needs transformers 4, the last with Flax models; installed: {version}"
            " (pip install 'transformers<5' in an environment of its own, after bert_jax)"
        )


def installed_version() -> str:
    """The version of transformers; "none"."""
    try:
        return importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def has_flax(version: str) -> bool:
    """Whether this version of transformers has Flax models."""
    return version.startswith("4.")


def compile_step(config: PretrainConfig, devices: Sequence[Any]) -> jax.stages.Compiled:
    """The step on a batch of the shapes of `config`, compiled for `devices`. Parameters are on each of them, rows split over them.

    The dropout and the type of the computation are the config's; the pair head, which this class lacks, is left out.
    """
    import optax

    transformers = _quiet_transformers()
    settings = transformers.BertConfig(**config_to_hf(config.model, pad_token_id=0))
    model = transformers.FlaxBertForMaskedLM(settings, dtype=jnp.dtype(config.model.dtype), _do_init=False)
    optim = config.optim
    optimizer = optax.adamw(
        optim.learning_rate,
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),  # not biases and LayerNorms
    )

    def loss(params: Any, batch: dict[str, Any], key: Any) -> jax.Array:
        inputs = {name: batch[name] for name in _INPUTS}
        logits_BLV = model(**inputs, params=params, dropout_rng=key, train=True)[0]
        one_hot_BLV = jax.nn.one_hot(batch["labels"], settings.vocab_size)
        is_masked_BL = jnp.where(batch["labels"] > 0, 1.0, 0.0)
        losses_BL = optax.softmax_cross_entropy(logits_BLV, one_hot_BLV) * is_masked_BL
        return losses_BL.sum() / is_masked_BL.sum()

    def step(params: Any, moments: Any, batch: dict[str, Any], key: Any) -> tuple[Any, Any, Any, jax.Array]:
        dropout_key, next_key = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(params, batch, dropout_key)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), moments, next_key, value

    mesh = Mesh(np.asarray(devices), ("data",))
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    key = jax.eval_shape(jax.random.key, 0)
    params = jax.eval_shape(lambda key: model.init_weights(key, (1, 1)), key)
    rows = jax.ShapeDtypeStruct((config.train.batch_size, config.data.sequence_length), jnp.int32)
    program = jax.jit(
        step,
        in_shardings=(everywhere, everywhere, split, everywhere),
        out_shardings=everywhere,
        donate_argnums=(0, 1),
    )
    batch = dict.fromkeys((*_INPUTS, "labels"), rows)
    return program.lower(params, jax.eval_shape(optimizer.init, params), batch, key).compile()


def _quiet_transformers() -> ModuleType:
    import transformers

    transformers.logging.set_verbosity_error()  # its Flax classes warn that they are deprecated
    return transformers
