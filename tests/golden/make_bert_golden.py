"""Makes tests/golden/bert.npz: what `transformers` computes for a tiny random BERT.

    PYTHONPATH=. python tests/golden/make_bert_golden.py

Made with transformers 5.23.0, torch 2.13.0+cpu and NumPy 2 on an x86-64 CPU; the file's `provenance`
repeats the versions it was really made with. Seeded, so the same versions give the same bytes.

The file holds, as float32 unless said otherwise:
    config                      config.json of the BertForPreTraining, as text
    batch/FIELD                 inputs in the contract of bert_jax.batch (which names the axes)
    weight/NAME                 every weight under its Hugging Face name
    hidden_NBLD                 embeddings and the output of each of the N - 1 layers, padding included
    pooled_BD  mlm_logits_BMV  pair_logits_BC  mlm_loss  pair_loss
    gradient/NAME               gradient of mlm_loss + pair_loss
    provenance                  versions and command, as text

Nothing is left at a neutral value, so nothing can hide: biases are not 0, LayerNorm scales not 1, no
two sizes are equal, lengths are odd, rows are padded, prediction slots are unused. Real tokens are
never [PAD]: torch's padding_idx stops the gradient of that one embedding, which BERT itself did not.

`tests/interop/test_hf_parity.py` takes its models and its reference run from here, for other shapes.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parent / "bert.npz"
SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "type_vocab_size": 2,
}


def make_model(*, seed: int, attention: str = "eager", **settings):
    """A BertForPreTraining in eval mode, every weight drawn from `seed`."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(**settings, attn_implementation=attention)
    model = BertForPreTraining(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # tied ones once
            if "LayerNorm.weight" in name:
                value = 1 + 0.3 * rng.standard_normal(weight.shape)
            elif weight.ndim == 1:
                value = 0.2 * rng.standard_normal(weight.shape)
            else:  # large enough for attention to be far from uniform
                value = rng.standard_normal(weight.shape) / weight.shape[-1] ** 0.5
            weight.copy_(torch.from_numpy(value.astype(np.float32)))
    return model


def make_batch(config, *, rows: int, length: int, slots: int, seed: int) -> dict[str, np.ndarray]:
    """Random rows in the contract of bert_jax.batch: the first full, the others padded; sentence A and B
    where there are two types; between 1 and `slots` predictions a row, each at a real token."""
    rng = np.random.default_rng(seed)
    positions = np.broadcast_to(np.arange(length), (rows, length))
    lengths = rng.integers(slots + 1, length, rows)
    lengths[0] = length
    real = positions < lengths[:, None]
    second = (positions >= lengths[:, None] // 2) & real & (config.type_vocab_size > 1)
    used = np.arange(slots) < rng.integers(1, slots + 1, rows)[:, None]
    used[0] = True
    chosen = np.stack([np.sort(rng.permutation(n)[:slots]) for n in lengths])
    batch = {
        "tokens_BL": rng.integers(1, config.vocab_size, (rows, length)) * real,
        "type_ids_BL": second,
        "pack_ids_BL": real,
        "positions_BL": positions,
        "mlm_positions_BM": chosen * used,
        "mlm_targets_BM": rng.integers(1, config.vocab_size, (rows, slots)) * used,
        "mlm_weights_BM": used,
        "first_BP": np.zeros((rows, 1)),
        "pair_labels_BP": rng.integers(0, 2, (rows, 1)),
        "pair_weights_BP": np.ones((rows, 1)),
        "example_ids_B": np.arange(rows),
    }
    kinds = {"mlm_weights_BM": np.float32, "pair_weights_BP": np.float32, "example_ids_B": np.uint32}
    return {name: value.astype(kinds.get(name, np.int32)) for name, value in batch.items()}


def hf_inputs(batch) -> dict[str, Any]:
    """The batch as the keyword arguments of BertForPreTraining, torch tensors."""
    import torch

    labels = np.full(batch["tokens_BL"].shape, -100)
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    labels[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    arrays = {
        "input_ids": batch["tokens_BL"],
        "token_type_ids": batch["type_ids_BL"],
        "attention_mask": batch["pack_ids_BL"] > 0,
        "labels": labels,
        "next_sentence_label": batch["pair_labels_BP"][:, 0],
    }
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def reference(model, batch) -> dict[str, np.ndarray]:
    """What `transformers` computes for the batch, under the names of this file's docstring."""
    import torch
    from torch.nn.functional import cross_entropy

    inputs = hf_inputs(batch)
    model.zero_grad()
    out = model(**inputs, output_hidden_states=True)
    mlm_loss = cross_entropy(out.prediction_logits.flatten(0, 1), inputs["labels"].flatten())
    pair_loss = cross_entropy(out.seq_relationship_logits, inputs["next_sentence_label"])
    torch.testing.assert_close(mlm_loss + pair_loss, out.loss)  # the parts of transformers' own loss
    out.loss.backward()
    rows = np.arange(len(batch["tokens_BL"]))[:, None]
    return {
        "hidden_NBLD": torch.stack(out.hidden_states).detach().numpy(),
        "pooled_BD": model.bert.pooler(out.hidden_states[-1]).detach().numpy(),
        "mlm_logits_BMV": out.prediction_logits.detach().numpy()[rows, batch["mlm_positions_BM"]],
        "pair_logits_BC": out.seq_relationship_logits.detach().numpy(),
        "mlm_loss": mlm_loss.detach().numpy(),
        "pair_loss": pair_loss.detach().numpy(),
        **{f"gradient/{name}": weight.grad.numpy() for name, weight in model.named_parameters()},
    }


def weights(model) -> dict[str, np.ndarray]:
    """Every weight under its Hugging Face name, tied ones once."""
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


def main() -> None:
    import torch
    import transformers

    model = make_model(seed=1, **SIZES)
    batch = make_batch(model.config, rows=4, length=13, slots=3, seed=2)
    versions = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    provenance = "; ".join(f"{name} {version}" for name, version in versions.items())
    np.savez_compressed(
        OUT,
        config=np.array(model.config.to_json_string(use_diff=False)),
        provenance=np.array(f"tests/golden/make_bert_golden.py; {provenance}"),
        **{f"batch/{name}": value for name, value in batch.items()},
        **{f"weight/{name}": value for name, value in weights(model).items()},
        **reference(model, batch),
    )
    print(f"{OUT}: {OUT.stat().st_size} bytes; {provenance}")


if __name__ == "__main__":
    main()
