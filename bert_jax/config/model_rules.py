"""The rules of an architecture: what its options must be to each other."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.model import FUSED_HEAD_DIMS, PALLAS_LANES, ModelConfig, RotaryConfig


def model_faults(model: ModelConfig) -> Iterator[str]:
    """Every broken rule of a model that is pretrained, as `config.model.a=1 must be ...`."""
    if model.head.kind != "none":
        yield f"config.model.head.kind={model.head.kind!r} must be 'none': `bert-jax finetune` trains task heads"
    if model.num_heads > 0 and model.hidden_size % model.num_heads:
        yield (
            f"config.model.hidden_size={model.hidden_size} must be a multiple of"
            f" config.model.num_heads={model.num_heads}"
        )
    if model.groups > 0 and model.num_layers % model.groups:
        yield (
            f"config.model.groups={model.groups} must divide config.model.num_layers={model.num_layers}:"
            " groups have as many layers each"
        )
    if model.groups != 1 and model.sharing == "none":
        yield f"config.model.groups={model.groups} must be 1 for config.model.sharing='none', or it does nothing"
    if model.attention_backend == "cudnn" and (model.dtype, model.attention_dropout_rate) != ("bfloat16", 0):
        yield (
            "config.model.attention_backend='cudnn' must have config.model.dtype='bfloat16' (is"
            f" {model.dtype!r}) and config.model.attention_dropout_rate=0 (is {model.attention_dropout_rate})"
        )
    if model.num_heads > 0 and model.attention_backend in ("pallas", "triton"):
        yield from _kernel_faults(model)
    yield from _position_faults(model)
    yield from _block_faults(model)
    if model.positions == "disentangled":
        yield from _disentangled_faults(model)


def _kernel_faults(model: ModelConfig) -> Iterator[str]:
    kernel = f"config.model.attention_backend={model.attention_backend!r}"
    if model.head_dim not in FUSED_HEAD_DIMS:
        sizes = ", ".join(map(str, FUSED_HEAD_DIMS))
        yield f"{kernel} must have heads of {sizes} (config.model.hidden_size / num_heads are {model.head_dim})"
    if model.attention_backend == "pallas" and model.hidden_size % PALLAS_LANES:
        yield f"config.model.hidden_size={model.hidden_size} must be a multiple of {PALLAS_LANES} for {kernel}"


def _position_faults(model: ModelConfig) -> Iterator[str]:
    positions = f"config.model.positions={model.positions!r}"
    if model.positions == "rotary" and model.num_heads > 0 and model.head_dim % 2:
        yield (
            f"config.model.hidden_size={model.hidden_size} / num_heads={model.num_heads} = {model.head_dim} must be even"
            f" for {positions}, which turns pairs"
        )
    if model.position_offset and model.positions in ("rotary", "alibi", "sinusoidal"):
        yield f"config.model.position_offset={model.position_offset} must be 0 for {positions}, or it does nothing"
    if model.rotary.local_base != RotaryConfig().local_base and "local" not in model.pattern:
        yield (
            f"config.model.rotary.local_base={model.rotary.local_base} must go with a local layer in"
            f" config.model.pattern={','.join(model.pattern)}, or it does nothing"
        )
    if model.positions == "alibi" and model.attention_backend in ("cudnn", "pallas", "triton"):
        yield (
            f"config.model.attention_backend={model.attention_backend!r} must not go with {positions}: the fused kernel"
            " adds no biases"
        )


def _block_faults(model: ModelConfig) -> Iterator[str]:
    if not model.pattern:
        yield "config.model.pattern=() must name a reach: global, local or several"
    elif len(model.pattern) > model.num_layers > 0:
        yield (
            f"config.model.pattern={','.join(model.pattern)} must be at most"
            f" config.model.num_layers={model.num_layers} long"
        )
    if not model.norm.first and model.sharing != "none":
        yield (
            f"config.model.norm.first=False must go with config.model.sharing='none', not {model.sharing!r}: the first"
            " layer has not all that the others have"
        )
    if model.embedding_size and not model.mlm_head.transform and model.mlm_head.tied:
        yield (
            f"config.model.mlm_head.transform=False must go with config.model.embedding_size=0, not"
            f" {model.embedding_size}: the token table is read at its own width"
        )
    if not model.dropout_at or len(set(model.dropout_at)) != len(model.dropout_at):
        yield f"config.model.dropout_at={model.dropout_at} must be embeddings, attention, mlp or several, each once"
    elif model.dropout_at != ModelConfig().dropout_at and model.dropout_rate == 0:
        yield (
            f"config.model.dropout_at={model.dropout_at} must go with config.model.dropout_rate > 0, or it does nothing"
        )


def _disentangled_faults(model: ModelConfig) -> Iterator[str]:
    if model.embedding_size:
        yield (
            f"config.model.embedding_size={model.embedding_size} must be 0 for"
            " config.model.positions='disentangled'"
        )
    if model.relative.mask_decoder and model.norm.place == "before":
        yield (
            "config.model.relative.mask_decoder=True must go with config.model.norm.place='after': it applies the last"
            " layer again, to states that no last norm has seen"
        )
    if model.position_offset and not model.relative.mask_decoder:
        yield (
            f"config.model.position_offset={model.position_offset} must be 0 without absolute positions"
            " (config.model.positions='disentangled', relative.mask_decoder=False), or it does nothing"
        )
    if model.attention_backend in ("cudnn", "pallas", "triton"):
        yield (
            f"config.model.attention_backend={model.attention_backend!r} must go with config.model.positions absolute or rotary: the"
            " fused kernel has no scores of its own for positions"
        )
    if not model.relative.terms or len(set(model.relative.terms)) != len(model.relative.terms):
        yield f"config.model.relative.terms={model.relative.terms} must be c2p, p2c or both, each once"
    if model.relative.buckets and (
        model.relative.buckets % 2 or model.relative.buckets >= model.relative.span
    ):
        yield (
            f"config.model.relative.buckets={model.relative.buckets} must be 0, or even and <"
            f" config.model.relative.span={model.relative.span}"
        )
    if model.relative.convolution > 0 and model.relative.convolution % 2 == 0:
        yield f"config.model.relative.convolution={model.relative.convolution} must be 0 or odd: taps lie around each token"
