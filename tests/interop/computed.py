"""What ours computes for a batch of `tests.golden.drawn`, under the names of the goldens."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax.interop import names
from bert_jax.models import bert
from bert_jax.models.encoder import every_layer
from bert_jax.objectives.mlm import mlm_sums
from bert_jax.objectives.sentence import pair_sums
from bert_jax.objectives.sums import divide

HEADS = {"mlm_head": "mlm", "pair_head": "pair", "rtd_head": "rtd"}


@functools.cache  # the loss and all it is made of in one program: compiling is what takes the time
def program(config, heads):
    """(params, batch) -> ((loss, (output, its parts)), gradients)."""
    model = bert.BertWithHeads(config, heads)

    def loss(params, batch):
        output = model.apply({"params": params}, batch, record=every_layer(config, "probabilities"))
        losses = {}
        if output.mlm_logits_BMV is not None:
            losses["mlm_loss"] = divide(*mlm_sums(output.mlm_logits_BMV, batch)["mlm_loss"])
        if output.pair_logits_BPC is not None:
            losses["pair_loss"] = divide(*pair_sums(output.pair_logits_BPC, batch)["pair_loss"])
        if output.rtd_logits_BL is not None:
            each_BL = optax.sigmoid_binary_cross_entropy(output.rtd_logits_BL, batch["rtd_labels_BL"])
            losses["rtd_loss"] = jnp.average(each_BL, weights=batch["pack_ids_BL"] > 0)
        if not losses:  # an encoder alone: anything that its pooler is in
            losses["pooled_loss"] = (output.pooled_BPD**2).mean()
        return sum(losses.values()), (output, losses)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def compute(config, weights, batch):
    """States, attentions, logits, losses and gradient/NAME, from weights under their Hugging Face names."""
    params = names.from_hf(weights, config)
    present = names.heads_in(params)
    heads = tuple(HEADS[head] for head in present if head in HEADS)
    if "bert/pooler" not in present:
        config = dataclasses.replace(config, pooler="none")
    (_, (output, losses)), gradients = program(config, heads)(params, batch)
    found = {
        "hidden_NBLD": np.stack(output.hidden_states),
        "attentions_NBHLL": np.stack(output.attentions),
        **losses,
        "mlm_logits_BMV": output.mlm_logits_BMV,
        "pair_logits_BC": None if output.pair_logits_BPC is None else output.pair_logits_BPC[:, 0],
        "rtd_logits_BL": output.rtd_logits_BL,
        "pooled_BD": None if heads or output.pooled_BPD is None else output.pooled_BPD[:, 0],
        **{f"gradient/{name}": value for name, value in names.to_hf(gradients, config).items()},
    }
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def differences(ours, theirs, batch):
    """{name: largest absolute difference}, of states and attentions at real tokens alone: what stands at
    padding is nobody's."""
    real_BL = batch["pack_ids_BL"] > 0

    def real(name, value):
        if name == "hidden_NBLD":
            return value[:, real_BL]
        if name == "attentions_NBHLL":
            return value.transpose(1, 3, 0, 2, 4)[real_BL]
        return value[real_BL] if name == "rtd_logits_BL" else value

    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    found = {}
    for name, value in ours.items():
        assert value.shape == theirs[name].shape, name
        found[name] = float(np.max(np.abs(real(name, value) - real(name, theirs[name]))))
    return found
