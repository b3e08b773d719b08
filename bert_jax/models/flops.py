"""The arithmetic a model needs, counted from its config."""

from __future__ import annotations

from bert_jax.config.model import ModelConfig


def training_flops(model: ModelConfig, *, length: int, slots: int, heads: tuple[str, ...]) -> float:
    """FLOPs to train on one row of `length` tokens with `slots` predictions: matrix multiplications only,
    backward counted as twice forward.

    A layer has 6 L (4 D^2 + 2 D F) + 12 L T D, T being the tokens that a query attends to (of a local layer the window
    and itself) and 3 D F with a gate, whether its parameters are its own or shared; disentangled attention adds 6 L^2 D a
    term (projecting the relative table, once a batch, is left out). The enhanced mask decoder adds one layer where the MLM
    head reads it: it applies the last layer twice, and the compiler drops the first output of that layer. Heads: "mlm" 6 M (D E + E V), "rtd" 6 L D^2; pooler and pair head are below 0.1 %.
    Padding counts, and so does attention between the examples of a packed row, which is computed and masked: a
    row of P equal examples could do with 1 / P of the L^2 terms.
    """
    width = model.hidden_size
    terms = len(model.relative.terms) if model.positions == "disentangled" else 0
    matrices = 2 if model.mlp == "gelu" else 3
    total = 0.0
    has_decoder = model.relative.mask_decoder and "mlm" in heads
    for layer in range(model.num_layers + has_decoder):
        is_local = layer < model.num_layers and model.reach(layer) == "local"
        seen = min(length, 2 * model.window + 1) if is_local else length
        total += 6 * length * (4 * width**2 + matrices * width * model.mlp_size)
        total += (12 + 6 * terms) * length * seen * width
    total += 6 * length * model.embedding_size * width
    total += 6 * length * model.relative.convolution * width**2
    if "mlm" in heads:
        total += 6 * slots * model.embedding_width * (width + model.vocab_size)
    if "rtd" in heads:
        total += 6 * length * width**2
    return float(total)
