"""The baselines of `bench` for what is done with a trained encoder: fine-tuning, a forward pass, embedding."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.benchmarks.huggingface import installed
from bert_jax.config import FinetuneConfig

if TYPE_CHECKING:
    from bert_jax.data.labelled.features import Features


def finetune_step(
    config: FinetuneConfig, folder: Path, features: Features, units: Callable[[], np.ndarray]
) -> Callable[[], None]:
    """One training step of the class that the export `folder` names, on the examples that `units` gives: padded to the
    longest by DataCollatorWithPadding; forward, backward, clipping and AdamW, which is a step of its Trainer without
    the Trainer's own work."""
    torch, transformers = installed()
    model = _model(folder).train()
    collate = transformers.DataCollatorWithPadding(transformers.AutoTokenizer.from_pretrained(folder))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.optim.learning_rate, weight_decay=config.optim.weight_decay
    )
    [labels_N] = features.of_sequences.values()
    starts = features.starts_S

    def step() -> None:
        numbers = units()
        spans = [slice(int(starts[n]), int(starts[n] + features.lengths_S[n])) for n in numbers]
        inputs = collate(
            [
                {
                    "input_ids": features.tokens_T[span].tolist(),
                    "token_type_ids": features.type_ids_T[span].tolist(),
                    "attention_mask": [1] * (span.stop - span.start),
                }
                for span in spans
            ]
        )
        targets = torch.from_numpy(labels_N[numbers])
        loss = model(**inputs, labels=targets.long() if labels_N.dtype == np.int32 else targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()

    return step


def forward(folder: Path, tokens_BL: np.ndarray, *, dtype: str) -> Callable[[], None]:
    """One forward pass of the export `folder` in `dtype`, without gradients."""
    torch, _ = installed()
    model = _model(folder).base_model.eval().to(getattr(torch, dtype))
    inputs = torch.from_numpy(tokens_BL.astype(np.int64))

    def call() -> None:
        with torch.inference_mode():
            model(input_ids=inputs)

    return call


def embedder(folder: Path, *, batch_size: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Mean embeddings of texts as sentence-transformers computes them: sorted by length, batch by batch."""
    torch, transformers = installed()
    model = _model(folder).base_model.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    most = model.config.max_position_embeddings

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = np.argsort([-len(text) for text in texts], kind="stable")
        found: list[Any] = [None] * len(texts)
        for first in range(0, len(texts), batch_size):
            part = order[first : first + batch_size]
            inputs = tokenizer(
                [texts[i] for i in part], padding=True, truncation=True, max_length=most, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden_BLD = model(**inputs).last_hidden_state
            mask_BL1 = inputs["attention_mask"][..., None].float()
            vectors_BD = ((hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)).numpy()
            for place, vector_D in zip(part, vectors_BD, strict=True):
                found[place] = vector_D
        return np.stack(found)

    return embed


def classifier(folder: Path, *, batch_size: int) -> Callable[[Sequence[str]], np.ndarray]:
    """The probability of the most probable class of each text, by the text-classification pipeline."""
    _, transformers = installed()
    pipeline = transformers.pipeline("text-classification", model=str(folder), batch_size=batch_size)

    def classify(texts: Sequence[str]) -> np.ndarray:
        return np.array([found["score"] for found in pipeline(list(texts), truncation=True)])

    return classify


def _model(folder: Path) -> Any:
    """The class that an export's config.json names, with its weights."""
    _, transformers = installed()
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder)
