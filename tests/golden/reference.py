"""What `transformers` computes for a model and a batch of `drawn`; names as in `make_goldens`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from bert_jax.config.model import ModelConfig
from bert_jax.interop import config_json
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import settled


def heads_of(kind: str) -> tuple[str, ...]:
    """Our heads (out of `names.HEADS`) of the class `kind` of `transformers`."""
    classes = [known for family in FAMILIES.values() for known in family.architectures]
    return next(tuple(sorted(heads)) for name, heads in classes if name == kind)


def model_config(kind: str, settings: Mapping[str, Any]) -> ModelConfig:
    """Our config of the class `kind` built with `settings`."""
    made = getattr(transformers, kind).config_class(**settings)
    raw = json.loads(made.to_json_string(use_diff=False))
    config = config_json.config_from_hf(raw, place=kind)
    pooler = f"{FAMILIES[config.family].names.get('bert/pooler/dense')}.weight"
    return settled(config, [pooler] if "bert/pooler" in heads_of(kind) else [])


def build(kind: str, settings: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
    """The class `kind` with these weights, in eval mode."""
    made = getattr(transformers, kind).config_class(**settings)
    made._attn_implementation = "eager"
    model = getattr(transformers, kind)(made).eval()
    prefix = f"{model.base_model_prefix}." if kind.endswith("Model") else ""
    found = {name.removeprefix(prefix): torch.from_numpy(array) for name, array in weights.items()}
    missing, unexpected = model.load_state_dict(found, strict=False)
    tied = {second for family in FAMILIES.values() for second in family.tied}
    assert set(missing) <= tied and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model


def inputs_of(model, batch: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The batch as the model's keyword arguments, labels included."""
    labels = np.full(batch["tokens_BL"].shape, -100)
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    labels[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    is_rtd = type(model).__name__ == "ElectraForPreTraining"
    arrays = {
        "input_ids": batch["tokens_BL"],
        "token_type_ids": batch["type_ids_BL"],
        "attention_mask": batch["pack_ids_BL"] > 0,
        "labels": batch["rtd_labels_BL"] if is_rtd else labels,
        "next_sentence_label": batch["pair_labels_BP"][:, 0],
        "sentence_order_label": batch["pair_labels_BP"][:, 0],
    }
    known = inspect.signature(model.forward).parameters
    return {name: torch.from_numpy(a.astype(np.int64)) for name, a in arrays.items() if name in known}


def compute(model, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """States, attentions, logits, losses and, of their sum, gradient/NAME: float32 arrays."""
    inputs = inputs_of(model, batch)
    model.zero_grad()
    out = model(**inputs, output_hidden_states=True, output_attentions=True)
    found = {
        "hidden_NBLD": torch.stack(out.hidden_states),
        "attentions_NBHLL": torch.stack(out.attentions),
    }
    losses = {}
    if type(model).__name__ == "ElectraForPreTraining":
        found["rtd_logits_BL"] = out.logits
        real = inputs["attention_mask"] == 1
        labels = inputs["labels"][real].float()
        losses["rtd_loss"] = binary_cross_entropy_with_logits(out.logits[real], labels)
    elif (mlm := out.get("prediction_logits", out.get("logits"))) is not None:
        rows = torch.arange(len(mlm))[:, None]
        found["mlm_logits_BMV"] = mlm[rows, torch.from_numpy(batch["mlm_positions_BM"]).long()]
        losses["mlm_loss"] = cross_entropy(mlm.flatten(0, 1), inputs["labels"].flatten())
    if (pair := out.get("seq_relationship_logits", out.get("sop_logits"))) is not None:
        found["pair_logits_BC"] = pair
        losses["pair_loss"] = cross_entropy(pair, torch.from_numpy(batch["pair_labels_BP"][:, 0]).long())
    if losses:
        torch.testing.assert_close(sum(losses.values()), out.loss)  # the parts of transformers' own
    else:
        found["pooled_BD"] = out.pooler_output
        losses["pooled_loss"] = (out.pooler_output**2).mean()
    sum(losses.values()).backward()
    gradients = {f"gradient/{name}": weight.grad for name, weight in named(model).items()}
    return {name: value.detach().numpy() for name, value in (found | losses | gradients).items()}


def named(model) -> dict[str, torch.nn.Parameter]:
    """Every weight under its name in the table, tied ones once."""
    prefix = f"{model.base_model_prefix}." if type(model).__name__.endswith("Model") else ""
    return {f"{prefix}{name}": weight for name, weight in model.named_parameters()}
