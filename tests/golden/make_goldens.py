"""Makes tests/golden/FAMILY.npz: what `transformers` computes for a tiny random model of each family.

    PYTHONPATH=. python tests/golden/make_goldens.py

Made with transformers 5.23.0, torch 2.13.0+cpu and NumPy 2 on an x86-64 CPU; each file's `provenance`
repeats the versions it was really made with. Seeded, so the same versions give the same bytes.

A file holds, as float32 unless said otherwise:
    config                      config.json, as text
    heads                       the ones of bert_jax.interop.names.HEADS that the class has
    batch/FIELD                 inputs in the contract of bert_jax.batch (which names the axes)
    hidden_NBLD                 the encoder's input and the output of each of the N - 1 layers
    mlm_logits_BMV  pair_logits_BC  rtd_logits_BL  mlm_loss  pair_loss  rtd_loss      of the heads there are
    gradient_names  gradient_norms      of the sum of the losses, tensor by tensor, norms as float64
    provenance                  versions and command, as text

The weights are not in it: `drawn.weights(config, heads, seed=WEIGHTS)` draws them anew.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = 1  # the seed of the weights
_BATCH = 2

_SIZES = {
    "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 40, "max_position_embeddings": 19,
}  # fmt: skip
_RELATIVE = _SIZES | {
    "relative_attention": True, "position_biased_input": False, "pos_att_type": "c2p|p2c", "legacy": False,
    "max_relative_positions": 7,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForPreTraining", _SIZES),
    "roberta": ("RobertaForMaskedLM", _SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "albert": ("AlbertForPreTraining", _SIZES | {"embedding_size": 16}),
    "electra": ("ElectraForPreTraining", _SIZES | {"embedding_size": 16}),
    "distilbert": (
        "DistilBertForMaskedLM",
        {
            "vocab_size": 61, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40,
            "max_position_embeddings": 19,
        },
    ),
    "deberta": ("DebertaForMaskedLM", _RELATIVE),
    "deberta_v2": (
        "DebertaV2ForMaskedLM",
        _RELATIVE
        | {
            "position_buckets": 6, "max_relative_positions": 12, "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "conv_act": "gelu",
        },
    ),
    "modernbert": (
        "ModernBertForMaskedLM",
        _SIZES
        | {
            "num_hidden_layers": 4, "local_attention": 6, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0,
        },
    ),
}  # fmt: skip


def main() -> None:
    import torch
    import transformers

    from tests.golden import drawn, reference

    versions = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    provenance = "; ".join(f"{name} {version}" for name, version in versions.items())
    for family, (kind, settings) in MODELS.items():
        config = reference.model_config(kind, settings)
        heads = reference.heads_of(kind)
        model = reference.build(kind, settings, drawn.weights(config, heads, seed=WEIGHTS))
        batch = drawn.batch(config, rows=4, length=13, slots=3, seed=_BATCH)
        found = reference.compute(model, batch)
        gradients = {name: array for name, array in found.items() if name.startswith("gradient/")}
        outputs = {name: found[name] for name in found.keys() - gradients.keys() - {"attentions_NBHLL"}}
        path = Path(__file__).parent / f"{family}.npz"
        np.savez_compressed(
            path,
            config=np.array(model.config.to_json_string(use_diff=False)),
            heads=np.array(heads),
            provenance=np.array(f"tests/golden/make_goldens.py; {provenance}"),
            gradient_names=np.array([name.removeprefix("gradient/") for name in gradients]),
            gradient_norms=np.array(
                [np.linalg.norm(array.astype(np.float64)) for array in gradients.values()]
            ),
            **{f"batch/{name}": value for name, value in batch.items()},
            **dict(sorted(outputs.items())),
        )
        print(f"{path}: {path.stat().st_size} bytes; {provenance}")


if __name__ == "__main__":
    main()
