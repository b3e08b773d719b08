"""The dataclasses of a fine-tuning experiment, and what follows from its data and model: steps, warmup, phases."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from bert_jax.config.model import REMAT, ModelConfig, Remat
from bert_jax.config.options import option
from bert_jax.config.phases import decay_steps
from bert_jax.config.run import CheckpointConfig, OptimConfig, PhaseConfig, RunConfig, TrainConfig

TaskKind = Literal[
    "classification", "multilabel", "regression", "tagging", "question_answering", "similarity"
]

Batching = Literal["pack", "pad"]

_TEXTS = "task.kind=classification|multilabel|regression"
_PAIRS = f"{_TEXTS}|similarity"
_COLUMNS = f"{_PAIRS}|tagging"
_WINDOWS = "task.kind=tagging|question_answering"
_QUESTIONS = "task.kind=question_answering"
_SIMILARITY = "task.kind=similarity"
_TASK_HEADS = "task.kind=classification|multilabel|regression|tagging|question_answering"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learnt, from which data, and how it is scored."""

    kind: TaskKind = option(
        "classification",
        "classification: one class of a text or pair; multilabel: any number of labels; regression: a number; tagging: a"
        " class of each word; question_answering: a span of a context; similarity: two texts encoded apart",
    )
    train: str = option(
        "",
        "labelled data: tfds:NAME[/CONFIG]:SPLIT, installed_docs:package:SPLIT, or a .tsv, .csv, .jsonl, .json, .parquet,"
        " .conll or .conllu file, also .gz; FORMAT:FILE where the suffix does not tell",
    )
    eval: str = option(
        "", "data that every evaluation scores, whole; empty: none, and the last checkpoint is kept"
    )
    test: str = option("", "data that `evaluate --split test` scores; never read by fine-tuning")
    tfds_dir: str = option("", "tfds: the data_dir; empty is TFDS's own default")
    text: str = option(
        "",
        "column of the text or words, by name or 1-based number; empty: found by the usual names",
        needs=_COLUMNS,
    )
    text_pair: str = option("", "column of the second text; empty: found by the usual names", needs=_PAIRS)
    label: str = option(
        "", "column of the label, number or tags; empty: found by the usual names", needs=_COLUMNS
    )
    pairs: Literal["auto", "yes", "no"] = option(
        "auto",
        "whether there is a second text; auto: if a column of the data has a usual name of one",
        needs=_TEXTS,
    )
    labels: tuple[str, ...] = option(
        (),
        "names of the classes in the order of their ids; empty: those of the data",
        needs="task.kind=classification|multilabel|tagging",
    )
    max_train_examples: int = option(0, "the first examples of task.train that are used; 0: all", ge=0)
    max_eval_examples: int = option(0, "the first examples of task.eval; 0: all", ge=0)
    max_length: int = option(
        128,
        "tokens of a sequence, [CLS] and [SEP] included; longer texts are cut, longer contexts and tagged sentences are"
        " read in windows",
        ge=8,
    )
    stride: int = option(
        0,
        "tokens that neighbouring windows share, as context; 0: a third of max_length (BERT's 128 of 384)",
        ge=0,
        needs=_WINDOWS,
    )
    batching: Batching = option(
        "pack",
        "pack: examples share rows, none attending to another; pad: one a row, padded to the batch's longest",
    )
    select: str = option(
        "",
        "score that the best checkpoint has the best of, such as accuracy, matthews, f1, macro_f1, pearson, best_f1, loss;"
        " empty: the usual one of the task",
    )
    scheme: Literal["auto", "none", "io", "iob1", "iob2", "iobes", "bilou"] = option(
        "auto",
        "how tags mark entities; none: tags are classes of words, as parts of speech; auto: found in the tags",
        needs="task.kind=tagging",
    )
    entity_mode: Literal["seqeval", "strict", "conll"] = option(
        "seqeval",
        "which entities are found in tags that break their scheme: as seqeval, as seqeval's strict IOB2, or as"
        " conlleval",
        needs="task.kind=tagging",
    )
    max_question: int = option(
        64, "tokens of a question at most; longer ones are cut", gt=0, needs=_QUESTIONS
    )
    max_answer: int = option(30, "tokens of an answer at most", gt=0, needs=_QUESTIONS)
    n_best: int = option(
        20,
        "first and last tokens of each window that are tried in pairs, and spans that are kept of a question",
        gt=0,
        needs=_QUESTIONS,
    )
    pooling: Literal["auto", "mean", "cls"] = option(
        "auto",
        "a text's vector: the mean of its tokens' states, or the state of [CLS]; auto: as --init has it, else mean for"
        " similarity, [CLS] for a class or number; models with a pooler read [CLS] for these",
        needs=_PAIRS,
    )
    loss: Literal["cosine", "cosent", "contrastive"] = option(
        "cosine",
        "cosine: squared error of the cosine (Reimers and Gurevych 2019); cosent: order of all pairs of a step; "
        "contrastive: each text finds its partner among those of the step (Henderson et al. 2017)",
        needs=_SIMILARITY,
    )
    scale: float = option(
        20.0,
        "factor of the cosines (the inverse of a temperature)",
        gt=0,
        needs="task.loss=cosent|contrastive",
    )
    label_low: float | None = option(
        None,
        "loss=cosine: the number that stands for a cosine of 0; None: the least of task.train",
        needs=_SIMILARITY,
    )
    label_high: float | None = option(
        None,
        "loss=cosine: the number that stands for a cosine of 1; None: the largest of task.train",
        needs=_SIMILARITY,
    )
    min_label: float | None = option(
        None,
        "training takes the pairs of this number or more as partners; None: every pair, and their labels are not read",
        needs="task.loss=contrastive",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneModelConfig:
    """How the model of --init is run; what it computes is as it comes. None: as it was trained."""

    dropout_rate: float | None = option(None, "dropout of embeddings and of each block's output", ge=0, lt=1)
    attention_dropout_rate: float | None = option(None, "dropout of attention probabilities", ge=0, lt=1)
    head_dropout_rate: float = option(
        0.1, "dropout before each dense layer of the task head", ge=0, lt=1, needs=_TASK_HEADS
    )
    attention_backend: Literal["auto", "xla", "cudnn", "pallas", "triton"] = option(
        "auto", "as model.attention_backend of pretraining"
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "type of the computation; parameters stay float32"
    )
    layers: Literal["loop", "scan"] = option("loop", "scan: compile time independent of depth")
    remat: Remat = option("none", REMAT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Which parameters begin anew, and which are trained when."""

    weights: Literal["init", "random"] = option(
        "init",
        "random: the architecture and tokenizer of --init, all parameters fresh, to see what pretraining is worth",
    )
    head: Literal["auto", "fresh"] = option(
        "auto",
        "auto: a task head of --init goes on, if it has the same kind and labels; fresh: a new head, whatever --init has",
        needs=_TASK_HEADS,
    )
    reinitialize: int = option(
        0, "top layers, and the pooler, that begin with fresh parameters (Zhang et al. 2021, section 4)", ge=0
    )
    frozen: Literal["none", "embeddings", "encoder"] = option(
        "none", "what is never trained; encoder: the embeddings too, so that the head alone learns"
    )
    unfreeze_epochs: float = option(
        0.0,
        "gradual unfreezing (ULMFiT, section 3.3): the head alone at first, then one layer more from the top after each"
        " so many epochs, embeddings last; 0: none",
        ge=0,
    )
    unfreeze_steps: int = option(0, "the same, counted in steps", ge=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptimConfig(OptimConfig):
    """AdamW with bias correction, for without it small sets fail (Mosbach et al. 2021; Zhang et al. 2021)."""

    learning_rate: float = option(3e-5, "peak learning rate", gt=0)
    warmup_steps: int = option(0, "updates of linear warmup; 0: warmup_share", ge=0)
    warmup_share: float = option(0.1, "share of the steps that is linear warmup", ge=0, lt=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneTrainConfig(TrainConfig):
    """Length of the run and its rhythm."""

    epochs: float = option(3.0, "passes over task.train", gt=0)
    steps: int = option(0, "updates in all; 0: as many as train.epochs make", ge=0)
    batch_size: int = option(32, "B, examples of one update over all devices and hosts", gt=0)
    log_every: int = option(10, "steps between two train lines in metrics.jsonl", gt=0)
    eval_every: int = option(0, "steps between two evaluations; 0: an epoch's", ge=0)
    eval_batches: int = option(0, "batches of one evaluation at most; 0: the whole set", ge=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneCheckpointConfig(CheckpointConfig):
    """Orbax checkpoints; the one with the best score is kept besides."""

    every: int = option(0, "steps between two checkpoints; 0: one with each evaluation", ge=0)
    keep: int = option(1, "latest checkpoints that stay", gt=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig(RunConfig):
    """A fine-tuning experiment, resolved: complete, typed, immutable. The model is that of --init."""

    optim: FinetuneOptimConfig = FinetuneOptimConfig()
    train: FinetuneTrainConfig = FinetuneTrainConfig()
    checkpoint: FinetuneCheckpointConfig = FinetuneCheckpointConfig()
    task: TaskConfig = TaskConfig()
    model: FinetuneModelConfig = FinetuneModelConfig()
    tuning: TuningConfig = TuningConfig()

    @property
    def attention_backend(self) -> str:
        return self.model.attention_backend


# ---------------------------------------------------------------------------------------------
# What follows from the data and the model
# ---------------------------------------------------------------------------------------------


def settled(config: FinetuneConfig, *, examples: int, layers: int) -> FinetuneConfig:
    """`config` with every number that its zeros leave open: steps, warmup, rhythm, phases.

    examples: of one epoch. layers: of the encoder. A settled configuration settles to itself.
    """
    epoch = examples / config.train.batch_size
    steps = config.train.steps or max(1, math.ceil(config.train.epochs * epoch))
    every = config.train.eval_every or max(1, math.ceil(epoch))
    every = min(every, steps)
    warmup = config.optim.warmup_steps or int(config.optim.warmup_share * steps)
    if config.optim.schedule == "wsd":
        warmup = min(warmup, steps - decay_steps(config.optim, steps))
    elif config.optim.schedule != "constant":
        warmup = min(warmup, steps - 1)
    changed = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, steps=steps, eval_every=every),
        optim=dataclasses.replace(config.optim, warmup_steps=warmup),
        checkpoint=dataclasses.replace(config.checkpoint, every=config.checkpoint.every or every),
    )
    if config.phases:
        return changed
    return dataclasses.replace(
        changed,
        phases=_phases(config.tuning, steps, epoch=epoch, layers=layers),
        tuning=dataclasses.replace(config.tuning, frozen="none", unfreeze_epochs=0.0, unfreeze_steps=0),
    )


def _phases(tuning: TuningConfig, steps: int, *, epoch: float, layers: int) -> tuple[PhaseConfig, ...]:
    """Gradual unfreezing as phases, or the one phase of what is always frozen."""
    each = tuning.unfreeze_steps or round(tuning.unfreeze_epochs * epoch)
    least = {"none": 0, "embeddings": 1, "encoder": layers + 1}[tuning.frozen]
    if not each and not least:
        return ()
    if not each:
        return (PhaseConfig(frozen=frozen_patterns(least)),)
    found: list[PhaseConfig] = []
    for stage in range(layers + 2):  # the head alone, then a layer more each, and the embeddings
        left = steps - stage * each
        if left <= 0:
            break
        depth = max(layers + 1 - stage, least)
        is_last = depth == least or left <= each
        part = left if is_last else each
        found.append(PhaseConfig(share=part / steps, frozen=frozen_patterns(depth)))
        if is_last:
            break
    return tuple(found)


def frozen_patterns(depth: int) -> tuple[str, ...]:
    """Patterns of the embeddings and of the `depth` - 1 lowest layers; 0: of nothing. Tables that all layers share
    stay with the embeddings."""
    if depth == 0:
        return ()
    parts = ["embeddings", "encoder/relative", "encoder/convolution"]
    if depth > 1:
        parts.append(f"encoder/layer_({'|'.join(map(str, range(depth - 1)))})")
    return (f"^bert/({'|'.join(parts)})/",)


def tuned_model(config: FinetuneConfig, model: ModelConfig) -> ModelConfig:
    """`model` run as `config.model` says."""
    ours = config.model
    rate, attention_rate = ours.dropout_rate, ours.attention_dropout_rate
    return dataclasses.replace(
        model,
        attention_backend=ours.attention_backend,
        dtype=ours.dtype,
        layers=ours.layers,
        remat=ours.remat,
        head=dataclasses.replace(model.head, dropout_rate=ours.head_dropout_rate),
        dropout_rate=model.dropout_rate if rate is None else rate,
        attention_dropout_rate=model.attention_dropout_rate if attention_rate is None else attention_rate,
    )
