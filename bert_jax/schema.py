"""The frozen dataclasses of a configuration: every field, its default and its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from bert_jax.models.presets import ModelConfig, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text comes from and how rows are cut from it."""

    source: Literal["installed_docs", "files", "tfds"] = option(
        "installed_docs", "documentation of the installed Python packages, text files, or a TFDS dataset"
    )
    path: str = option(
        "", "files: files, folders or globs (.txt, .jsonl, also .gz), comma-separated; tfds: name[/config]"
    )
    split: str = option("train", "tfds: the split to read")
    tfds_dir: str = option("", "tfds: the data_dir; empty is TFDS's own default")
    text_field: str = option("text", "tfds, .jsonl: the field that holds the text")
    sentences: Literal["rule", "line"] = option(
        "rule", "rule: split each line into sentences; line: each line already is one"
    )
    directory: str = option("", "root of the prepared corpora; empty: $BERT_JAX_DATA, else ~/.cache/bert_jax")
    eval_fraction: float = option(0.02, "share of the documents held out (at least one; 0: none)")
    sequence_length: int = option(128, "L, tokens a row, special tokens included")
    sentence_objective: Literal["none", "nsp", "sop"] = option(
        "nsp", "none: one segment; nsp: next sentence (BERT); sop: sentence order (ALBERT)"
    )
    short_sequence_probability: float = option(
        0.1, "share of the rows cut to a random shorter length, as in BERT"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The vocabulary: trained on the corpus, or loaded."""

    kind: Literal["wordpiece"] = option("wordpiece", "the subword model")
    vocab_size: int = option(30522, "entries, special tokens included; also the model's V")
    path: str = option("", "load this vocab.txt or tokenizer.json instead of training one")
    lowercase: bool = option(True, "lower-case and strip accents (uncased)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Masked language modelling (Devlin et al. 2019, section 3.1, task 1)."""

    rate: float = option(0.15, "share of a row's tokens that are predicted")
    mask: float = option(0.8, "share of the predicted tokens shown as [MASK]")
    random: float = option(0.1, "share shown as a random vocabulary entry")
    keep: float = option(0.1, "share shown as themselves")
    max_predictions: int = option(0, "M, prediction slots a row; 0: ceil(rate * sequence_length)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The update rule and its learning-rate schedule."""

    name: Literal["adamw", "bert_adam"] = option(
        "adamw", "adamw: with bias correction; bert_adam: Google's AdamWeightDecay, without"
    )
    learning_rate: float = option(1e-4, "peak learning rate")
    schedule: Literal["linear", "bert_linear", "cosine", "constant"] = option(
        "linear",
        "after warmup: to zero linearly, along a cosine, or not; bert_linear: Google's code,"
        " whose decay counts from step 0, so the rate steps down as warmup ends",
    )
    warmup_steps: int = option(10_000, "updates of linear warmup")
    weight_decay: float = option(0.01, "decoupled decay; never on biases or LayerNorm")
    clip_norm: float = option(1.0, "global gradient norm is cut to this; 0: never")
    b1: float = option(0.9, "decay of the first moment")
    b2: float = option(0.999, "decay of the second moment")
    eps: float = option(1e-6, "added to the root of the second moment")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a step is spread over devices."""

    mode: Literal["jit", "pmap"] = option("jit", "jit over a device mesh, or pmap (data parallelism only)")
    data: int = option(-1, "mesh axis over which rows are split; -1: the devices that are left")
    fsdp: int = option(1, "mesh axis over which rows, parameters and optimizer state are split")
    tensor: int = option(1, "mesh axis over which heads and MLP columns are split")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length of the run and its rhythm, all in optimizer updates ("steps")."""

    steps: int = option(1_000_000, "updates in all")
    batch_size: int = option(256, "B, rows of one update over all devices and hosts")
    accumulate: int = option(1, "micro-batches whose gradients make one update")
    log_every: int = option(100, "steps between two train lines in metrics.jsonl")
    eval_every: int = option(5_000, "steps between two evaluations on held-out documents")
    eval_batches: int = option(50, "batches of one evaluation at most; 0: the whole held-out set")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Orbax checkpoints; the one with the lowest held-out loss is kept besides."""

    every: int = option(5_000, "steps between two checkpoints")
    keep: int = option(3, "latest checkpoints that stay")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment, resolved: complete, typed, immutable."""

    seed: int = option(0, "seed of initialisation, order, masks and dropout")
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    masking: MaskingConfig = MaskingConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    parallel: ParallelConfig = ParallelConfig()
    train: TrainConfig = TrainConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


def walk(config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("group.field", value) of every field, in order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value
