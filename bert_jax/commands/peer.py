"""The peer that `bench --what step` is measured against: Hugging Face's BERT in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bert_jax.config import Config
from bert_jax.errors import UserError
from bert_jax.interop.names import config_to_hf


def torch_step(config: Config, batch: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """One training step of `BertForPreTraining` on `batch`: the same shapes, dropout, dtype and update.

    On a GPU the model is compiled with torch.compile and uses SDPA; labels cover all positions, as
    Hugging Face's head computes them.

    Raises:
      UserError: PyTorch or transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"--peer hf needs torch and transformers, and {error.name} is not installed"
        ) from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = config_to_hf(config.model, pad_token_id=0)
    model: Any = transformers.BertForPreTraining(transformers.BertConfig(**architecture))
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.optim.learning_rate, weight_decay=config.optim.weight_decay
    )
    labels = np.full_like(batch["tokens_BL"], -100)
    np.put_along_axis(labels, batch["mlm_positions_BM"], batch["mlm_targets_BM"], axis=1)
    arrays = {
        "input_ids": batch["tokens_BL"],
        "token_type_ids": batch["type_ids_BL"],
        "attention_mask": batch["pack_ids_BL"],
        "labels": labels,
        "next_sentence_label": batch["pair_labels_BP"][:, 0],
    }
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
