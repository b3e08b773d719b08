"""The arithmetic a model needs, counted from its config."""

from __future__ import annotations

from bert_jax.config.model import ModelConfig


def training_flops(model: ModelConfig, *, length: int, slots: int, heads: tuple[str, ...]) -> float:
    """FLOPs to train on one row of `length` tokens with `slots` predictions: matrix multiplications only,
    backward counted as twice forward.

    A layer has 6 L (4 D^2 + 2 D F) + 12 L^2 D, whether its parameters are its own or shared; disentangled
    attention adds 6 L^2 D a term (projecting the relative table, once a batch, is left out), the enhanced mask
    decoder two more layers. Heads: "mlm" 6 M (D E + E V), "rtd" 6 L D^2; pooler and pair head are below 0.1 %.
    Padding counts, and so does attention between the examples of a packed row, which is computed and masked: a
    row of P equal examples could do with 1 / P of the L^2 terms.
    """
    width = model.hidden_size
    terms = len(model.relative_terms) if model.attention == "disentangled" else 0
    layer = 6 * length * (4 * width**2 + 2 * width * model.mlp_size) + (12 + 6 * terms) * length**2 * width
    total = model.layer_passes * layer
    total += 6 * length * model.embedding_size * width
    total += 6 * length * model.convolution * width**2
    if "mlm" in heads:
        total += 6 * slots * model.embedding_width * (width + model.vocab_size)
    if "rtd" in heads:
        total += 6 * length * width**2
    return float(total)
