"""The options that every run has: optimizer, devices, training, phases, checkpoints, logs."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bert_jax.config.options import option

Schedule = Literal["linear", "bert_linear", "cosine", "polynomial", "inverse_sqrt", "wsd", "constant"]
DecayCurve = Literal["linear", "sqrt", "cosine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The update rule and its learning-rate schedule."""

    name: Literal["adamw", "bert_adam", "lamb", "stable_adamw", "adafactor", "lion", "muon"] = option(
        "adamw",
        "adamw: with bias correction; bert_adam: Google's AdamWeightDecay, without; lamb: that with each matrix's"
        " update scaled to the matrix's norm, for large batches (ALBERT); stable_adamw: adamw with each tensor's step"
        " bounded, which needs no clip_norm (ModernBERT: b2=0.98, clip_norm=0); adafactor: second moments of matrices"
        " as rows and columns; lion: the sign of the momentum (a tenth of adamw's rate, b2=0.99); muon: orthogonal"
        " updates for the matrices of the layers, adamw for the rest, at adamw's rate",
    )
    learning_rate: float = option(1e-4, "peak learning rate", gt=0)
    schedule: Schedule = option(
        "linear",
        "after warmup: down to `floor` linearly, along a cosine or a polynomial; inverse_sqrt: as 1 / sqrt(update);"
        " wsd: constant, then down at the end (trapezoidal); constant; bert_linear: Google's code, whose decay counts"
        " from step 0, so the rate steps down as warmup ends",
    )
    warmup_steps: int = option(10_000, "updates of linear warmup", ge=0)
    floor: float = option(
        0.0,
        "what the rate falls to, as a share of learning_rate",
        ge=0,
        lt=1,
        needs="optim.schedule=linear|cosine|polynomial|wsd",
    )
    power: float = option(
        2.0, "the rate falls as (1 - progress)^power", gt=0, needs="optim.schedule=polynomial"
    )
    decay_share: float = option(
        0.1,
        "the last share of the steps, over which the rate falls",
        gt=0,
        le=1,
        needs="optim.schedule=wsd",
    )
    decay_curve: DecayCurve = option(
        "linear",
        "how the rate falls over decay_share; sqrt: as 1 - sqrt(progress) (ModernBERT)",
        needs="optim.schedule=wsd",
    )
    weight_decay: float = option(0.01, "decoupled decay; never on biases or LayerNorm", ge=0)
    weight_decay_by: Literal["rate", "schedule"] = option(
        "rate",
        "a step takes off weight_decay times: the learning rate (PyTorch's AdamW); the learning rate / its peak, so that"
        " the decay does not change with learning_rate (Loshchilov and Hutter 2019, algorithm 2; ModernBERT)",
        needs="optim.name=adamw|bert_adam|stable_adamw|adafactor|lion|muon",
    )
    clip_norm: float = option(1.0, "global gradient norm is cut to this; 0: never", ge=0)
    skip_norm: float = option(
        0.0,
        "a step whose global gradient norm is above this, or not finite, updates nothing and is counted as `skipped`; 0:"
        " every step updates, and one that is not finite ends the run",
        ge=0,
    )
    b1: float = option(0.9, "decay of the first moment; adafactor: 0 keeps none", ge=0, lt=1)
    b2: float = option(0.999, "decay of the second moment; lion: of the momentum", ge=0, lt=1)
    eps: float = option(
        1e-6,
        "added to the root of the second moment",
        gt=0,
        needs="optim.name=adamw|bert_adam|lamb|stable_adamw|muon",
    )
    layer_decay: float = option(
        1.0,
        "the rate of each layer is this times that of the layer above it, the heads' being learning_rate (ULMFiT,"
        " section 3.2; ELECTRA fine-tunes with 0.8)",
        gt=0,
        le=1,
    )
    rates: tuple[str, ...] = option(
        (),
        "PATTERN=RATE: the peak rate of the parameters whose path the regular expression is found in, the first that"
        " is: layer_[0-5]/=1e-5,layer_([6-9]|1[01])/=2e-5",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a step is spread over devices."""

    mode: Literal["jit", "pmap"] = option("jit", "jit over a device mesh, or pmap (data parallelism only)")
    data: int = option(-1, "mesh axis over which rows are split; -1: the devices that are left")
    fsdp: int = option(1, "mesh axis over which rows, parameters and optimizer state are split", gt=0)
    tensor: int = option(1, "mesh axis over which heads and MLP columns are split", gt=0)
    shard_optimizer: bool = option(
        False,
        "split the optimizer's state, and the average of train.ema, over data too (ZeRO-1): a fraction of the memory for a"
        " gather of the parameters in each step",
        needs="parallel.mode=jit",
    )
    timeout: float = option(
        600.0,
        "seconds; a process of several that sees no step, evaluation batch, compilation or checkpoint finish for"
        " this long ends; the same command resumes",
        gt=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length of the run and its rhythm, all in optimizer updates ("steps")."""

    steps: int = option(1_000_000, "updates in all", gt=0)
    batch_size: int = option(256, "B, rows of one update over all devices and hosts", gt=0)
    accumulate: int = option(1, "micro-batches whose gradients make one update", gt=0)
    log_every: int = option(100, "steps between two train lines in metrics.jsonl", gt=0)
    eval_every: int = option(5_000, "steps between two evaluations on held-out documents", gt=0)
    eval_batches: int = option(50, "batches of one evaluation at most; 0: the whole held-out set", ge=0)
    ema: float = option(
        0.0,
        "decay of an exponential average of the parameters, taken after every update, such as 0.999 (early updates count"
        " more: min(ema, (1 + t) / (10 + t)) at update t, as TensorFlow's); held-out scores, the best checkpoint and every"
        " model that is read from the workdir are then the average's; 0: none",
        ge=0,
        lt=1,
    )
    patience: int = option(
        0, "the run ends after so many evaluations in a row without a better held-out score; 0: never", ge=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Orbax checkpoints; the one with the lowest held-out loss is kept besides."""

    every: int = option(5_000, "steps between two checkpoints", gt=0)
    keep: int = option(3, "latest checkpoints that stay", gt=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Where metrics go besides metrics.jsonl, which every run writes."""

    sinks: tuple[Literal["tensorboard", "wandb"], ...] = option(
        ("tensorboard",), "tensorboard: event files in the workdir; wandb: Weights & Biases, extra [wandb]"
    )
    wandb_project: str = option("bert_jax", "project on Weights & Biases", needs="log.sinks=wandb")
    wandb_mode: Literal["online", "offline"] = option(
        "online",
        "offline: files in the workdir, for `wandb sync` to upload later",
        needs="log.sinks=wandb",
    )
    profile: bool = option(
        False, "trace the five steps after the tenth, for TensorBoard's profiler or xprof: W/profile"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A part of the run and the values that hold in it alone; None: the run's own.

    A phase that sets an option of the schedule (`learning_rate` to `decay_curve`) begins a new piece of it, which lasts
    until another phase begins one, or to the end of the run. What it does not set is as in the piece before, but for
    the warmup. `schedule=wsd,decay_share=1` is a piece of decay alone, from the rate of a constant piece before it.

    Phases that set `batch_size` alone, with equal shares, are a ramp of the batch in equal steps.
    """

    share: float = option(1.0, "share of train.steps; those of all phases add up to 1", gt=0, le=1)
    sequence_length: int | None = option(None, "data.sequence_length of the phase", ge=8)
    batch_size: int | None = option(None, "train.batch_size of the phase", gt=0)
    masking_rate: float | None = option(None, "masking.rate of the phase", gt=0, lt=1)
    packing: int | None = option(None, "data.packing of the phase", gt=0)
    rotary_base: float | None = option(None, "model.rotary.base of the phase", gt=1)
    rotary_local_base: float | None = option(None, "model.rotary.local_base of the phase", gt=1)
    learning_rate: float | None = option(None, "optim.learning_rate of the piece that begins here", gt=0)
    schedule: Schedule | None = option(None, "optim.schedule of the piece that begins here")
    warmup_steps: int | None = option(None, "optim.warmup_steps of the piece that begins here; None: 0", ge=0)
    floor: float | None = option(None, "optim.floor of the piece that begins here", ge=0, lt=1)
    power: float | None = option(None, "optim.power of the piece that begins here", gt=0)
    decay_share: float | None = option(None, "optim.decay_share of the piece that begins here", gt=0, le=1)
    decay_curve: DecayCurve | None = option(None, "optim.decay_curve of the piece that begins here")
    frozen: tuple[str, ...] = option(
        (), "regular expressions of parameter paths that stay as they are: ^bert/embeddings/, layer_[0-5]/"
    )

    def __str__(self) -> str:
        """As the command line takes it: share=0.9,sequence_length=128."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        shown = {
            k: "|".join(v) if isinstance(v, tuple) else v for k, v in values.items() if v not in (None, ())
        }
        return ",".join(f"{name}={value}" for name, value in shown.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every kind of training run has, whatever it trains."""

    seed: int = option(0, "seed of initialisation, order, masks and dropout", ge=0, lt=2**31)
    optim: OptimConfig = OptimConfig()
    parallel: ParallelConfig = ParallelConfig()
    train: TrainConfig = TrainConfig()
    phases: tuple[PhaseConfig, ...] = option(
        (),
        "parts of the run with values of their own, in order, such as"
        " share=0.9,sequence_length=128;share=0.1; empty: one",
    )
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    @property
    def attention_backend(self) -> str:
        """What computes attention, which decides on what devices the run can be."""
        return "xla"
