"""The baselines of `bench`: Hugging Face's models in PyTorch, and its masking collator."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bert_jax.batch import Batch
from bert_jax.config import PretrainConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop.config_json import config_to_hf
from bert_jax.interop.families import FAMILIES

# What the classes with a sentence-pair head call its label.
_PAIR_LABELS = {"bert": "next_sentence_label", "albert": "sentence_order_label"}


def check_step(config: PretrainConfig) -> None:
    """Checks that `torch_step` can run: the configuration first, then what is installed.

    Raises:
      ConfigError: Hugging Face's classes have no such step.
      UserError: PyTorch or transformers is not installed.
    """
    faults = []
    if config.data.packing > 1:
        faults.append(f"has no packed rows: config.data.packing={config.data.packing} must be 1")
    if config.objective.name != "mlm":
        faults.append(f"has no such objective: config.objective.name={config.objective.name!r} must be 'mlm'")
    if config.model.relative.mask_decoder:
        faults.append("has no enhanced mask decoder: config.model.relative.mask_decoder=True must be False")
    elif architecture(config) is None:
        faults.append(
            f"has no {config.model.family!r} with a sentence-pair head:"
            f" config.data.sentence_objective={config.data.sentence_objective!r} must be 'none'"
        )
    if faults:
        raise ConfigError([f"--baseline hf {fault}" for fault in faults])
    installed()


def torch_step(config: PretrainConfig, batch: Batch) -> Callable[[], None]:
    """One training step, on `batch`, of the family's class with the same heads: the same shapes, dropout, dtype and
    update.

    On a GPU the model is compiled with torch.compile and uses SDPA; labels cover all positions, as
    Hugging Face's heads compute them.

    Raises:
      ConfigError, UserError: see `check_step`.
    """
    check_step(config)
    torch, transformers = installed()
    model_config = config.model
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = architecture(config)
    assert name is not None
    pad = max(0, model_config.position_offset - 1)
    entries = config_to_hf(model_config, pad_token_id=pad, architecture=name)
    cls = getattr(transformers, name)
    model: Any = cls(cls.config_class(**entries))
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.optim.learning_rate, weight_decay=config.optim.weight_decay
    )
    labels = np.full_like(batch["tokens_BL"], -100)
    np.put_along_axis(labels, batch["mlm_positions_BM"], batch["mlm_targets_BM"], axis=1)
    arrays = {
        "input_ids": batch["tokens_BL"],
        "attention_mask": batch["pack_ids_BL"],
        "labels": labels,
    }
    if model_config.type_vocab_size > 1:
        arrays["token_type_ids"] = batch["type_ids_BL"]
    if config.data.sentence_objective != "none":
        arrays[_PAIR_LABELS[model_config.family]] = batch["pair_labels_BP"][:, 0]
    inputs = {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in arrays.items()}
    run_model = torch.compile(model) if device.type == "cuda" else model

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.model.dtype == "bfloat16"):
            loss = run_model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def architecture(config: PretrainConfig) -> str | None:
    """The family's class with an MLM head and, for a sentence objective, a pair head; None: there is none."""
    with_pairs = config.data.sentence_objective != "none"
    for name, heads in FAMILIES[config.model.family].architectures:
        if "mlm_head" in heads and ("pair_head" in heads) == with_pairs:
            return name
    return None


def masking_collator(config: PretrainConfig, vocabulary: Path, batch: Batch) -> Callable[[], object]:
    """`DataCollatorForLanguageModeling` on the unmasked rows of `batch`, given as lists of ids, as a `datasets` table
    gives them.

    It masks single tokens, at the configured rate and 80/10/10 split; `vocabulary` is a folder that `transformers`
    reads.

    Raises:
      UserError: PyTorch or transformers is not installed.
    """
    _, transformers = installed()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(vocabulary)
    masking = config.masking
    collate = transformers.DataCollatorForLanguageModeling(
        tokenizer,
        mlm_probability=masking.rate,
        mask_replace_prob=masking.mask,
        random_replace_prob=masking.random,
        pad_to_multiple_of=config.data.sequence_length,
    )
    tokens_BL = batch["tokens_BL"].copy()
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    tokens_BL[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    special_BL = np.isin(tokens_BL, tokenizer.all_special_ids).astype(np.int64)
    fields = {
        "input_ids": tokens_BL,
        "token_type_ids": batch["type_ids_BL"],
        "special_tokens_mask": special_BL,
    }
    lengths = (batch["pack_ids_BL"] > 0).sum(axis=1).tolist()
    rows = [
        {name: values_BL[row, :length].tolist() for name, values_BL in fields.items()}
        for row, length in enumerate(lengths)
    ]
    return lambda: collate(rows)


def installed() -> tuple[ModuleType, ModuleType]:
    """(torch, transformers).

    Raises:
      UserError: one of them is not installed; names every missing one.
    """
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--baseline hf needs torch and transformers; not installed: {', '.join(missing)}"
            " (pip install torch transformers)"
        )
    import torch
    import transformers

    return torch, transformers
