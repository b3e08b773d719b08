"""The options of pretraining: text, vocabulary, masking, objective, and those of every run."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bert_jax.config.model import ModelConfig
from bert_jax.config.options import option
from bert_jax.config.run import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text comes from and how rows are cut from it."""

    path: str = option(
        "installed_docs",
        "where the text is, comma-separated: installed_docs (documentation of the Python packages here),"
        " tfds:NAME[/CONFIG]:SPLIT, or files, folders and globs (.txt, .jsonl, .parquet, also .gz and .zst)",
    )
    weights: tuple[float, ...] = option(
        (), "passes over each entry of path in an epoch, such as 1,0.5; empty: one each"
    )
    tfds_dir: str = option("", "tfds: the data_dir; empty is TFDS's own default")
    text_field: str = option("text", "tfds, .jsonl, .parquet: the field that holds the text")
    sentences: Literal["rule", "line", "sentencex"] = option(
        "rule",
        "rule: split each line into sentences, fast, for English; line: each line already is one;"
        " sentencex: split by that library, in its [sentencex] extra",
    )
    directory: str = option("", "root of the prepared corpora; empty: $BERT_JAX_DATA, else ~/.cache/bert_jax")
    eval_fraction: float = option(0.02, "share of the documents held out (at least two; 0: none)", ge=0, lt=1)
    sequence_length: int = option(128, "L, tokens a row, special tokens included", ge=8)
    sentence_objective: Literal["none", "nsp", "sop"] = option(
        "nsp", "none: no label; nsp: next sentence (BERT); sop: sentence order (ALBERT)"
    )
    format: Literal["segment_pair", "sentence_pair", "full_sentences", "doc_sentences"] = option(
        "segment_pair",
        "an example (RoBERTa, section 4.2): two segments of many sentences; two single sentences; whole"
        " sentences across documents; whole sentences of one document",
    )
    boundaries: Literal["cut", "whole"] = option(
        "cut",
        "segment_pair: cut: fill the row, then cut the longer segment (BERT, ALBERT); whole: only whole"
        " sentences that fit, so that no cut tells the order",
    )
    short_sequence_probability: float = option(
        0.1, "share of the examples built to a random shorter length", ge=0, le=1
    )
    quirks: tuple[Literal["short_per_document", "lone_is_random", "ten_draws"], ...] = option(
        (),
        "what the released code does and the papers do not say: short_per_document: one draw of"
        " short_sequence_probability a document; lone_is_random: a chunk of one sentence is paired at random"
        " and labelled 1 (nsp: over half, as in BERT; sop: as in ALBERT); ten_draws: ten tries for another"
        " document, then any (BERT)",
    )
    packing: int = option(
        1, "P, examples that may share a row, none attending to another; 1: no packing", gt=0
    )

    def sources(self) -> tuple[str, ...]:
        """The entries of `path`."""
        return tuple(entry for part in self.path.split(",") if (entry := part.strip()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """What is changed in the text or left out of it; the manifest counts every change."""

    normalize: Literal["none", "nfc", "nfkc"] = option("nfc", "Unicode normalisation form")
    drop_duplicates: bool = option(True, "keep the first of documents that are equal character by character")
    min_characters: int = option(0, "leave out documents shorter than this", ge=0)
    boilerplate_documents: int = option(
        0, "leave out lines that stand in at least this many documents, such as footers; 0: none", ge=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The vocabulary: trained on the corpus, or loaded."""

    kind: Literal["wordpiece", "bpe", "unigram"] = option(
        "wordpiece", "WordPiece (BERT), byte-level BPE (RoBERTa) or Unigram (ALBERT, DeBERTa-v3)"
    )
    vocab_size: int = option(30522, "entries, special tokens included; also the model's V", gt=0)
    path: str = option(
        "",
        "load instead of training: a folder with a tokenizer, such as a published model's, or a file in one; a"
        " vocab.txt, tokenizer.json or SentencePiece .model alone; or a model id of the Hugging Face hub (org/name)",
    )
    lowercase: bool = option(
        True,
        "lower-case and strip accents (uncased): in training, and of a loaded vocab.txt, or vocab.json with merges.txt,"
        " that comes alone; a folder that says what its tokenizer does keeps its way",
    )
    training_words: int = option(
        20_000_000, "words that training sees at most: beyond it their counts are scaled down together", gt=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Masked language modelling (Devlin et al. 2019, section 3.1, task 1)."""

    rate: float = option(0.15, "share of a row's tokens that are predicted", gt=0, lt=1)
    mask: float = option(0.8, "share of the predicted tokens shown as [MASK]", ge=0, le=1)
    random: float = option(0.1, "share shown as a random vocabulary entry", ge=0, le=1)
    keep: float = option(0.1, "share shown as themselves", ge=0, le=1)
    max_predictions: int = option(0, "M, prediction slots a row; 0: ceil(rate * sequence_length)", gt=0)
    rarity: float = option(
        0.0,
        "token: as many tokens of a row are predicted as without, drawn one after another with weights"
        " counts^-rarity, counts being how often the entry stands in the training text (DistilBERT's released code,"
        " after XLM: 0.7); in held-out rows too; 0: all alike",
        ge=0,
        le=2,
        needs="masking.unit=token",
    )
    unit: Literal["token", "whole_word", "ngram", "span"] = option(
        "token",
        "what is hidden together: tokens; whole words; n-grams of words (ALBERT, section 4.1); spans of"
        " words that share one fate (SpanBERT, section 3.1)",
    )
    max_ngram: int = option(3, "ngram: longest, in words; length n has probability proportional to 1/n", gt=0)
    span_p: float = option(0.2, "span: p of the geometric distribution of its words", gt=0, lt=1)
    max_span: int = option(10, "span: longest, in words; longer draws are drawn again", gt=0)
    mode: Literal["dynamic", "static"] = option(
        "dynamic", "dynamic: new masks each epoch (RoBERTa); static: `copies` masks, taken in turn (BERT)"
    )
    copies: int = option(10, "static: different masks that an example has", gt=0)
    random_from: Literal["vocabulary", "ordinary"] = option(
        "vocabulary",
        "random entries are drawn from all (BERT), or from those neither special nor unused (RoBERTa)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is learnt from the masked tokens."""

    name: Literal["mlm", "rtd"] = option(
        "mlm",
        "mlm: the model predicts the masked tokens; rtd: a small generator does and fills them in, and the"
        " model tells which tokens it replaced (ELECTRA)",
    )
    z_loss: float = option(
        0.0,
        "weight of log(Z)^2 beside the MLM loss, Z being the sum of exp(logits) of a masked token, the mean of all (PaLM,"
        " section 5: 1e-4); of the generator's for rtd; 0: none",
        ge=0,
    )
    rtd_weight: float = option(
        50.0, "weight of the model's loss beside the generator's", gt=0, needs="objective.name=rtd"
    )
    generator_width: float = option(
        0.25,
        "share of the model's heads, hidden size and MLP, in whole heads",
        gt=0,
        le=1,
        needs="objective.name=rtd",
    )
    generator_depth: float = option(
        1.0, "share of the model's layers", gt=0, le=1, needs="objective.name=rtd"
    )
    embedding_sharing: Literal["shared", "disentangled", "none"] = option(
        "shared",
        "one set of embedding tables (ELECTRA); disentangled: the model reads the generator's, which it"
        " does not train, plus a difference that it does (DeBERTa-v3); none: each its own",
        needs="objective.name=rtd",
    )
    temperature: float = option(
        1.0, "the generator's logits are divided by this before it samples", gt=0, needs="objective.name=rtd"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitConfig:
    """How a run begins with the model of --init."""

    growth: Literal["none", "tile"] = option(
        "none",
        "none: --init has the sizes of the run's model; tile: it is smaller, and its axes, whole heads and layers are"
        " repeated until they fill that (ModernBERT-large was made of base so)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunConfig):
    """A pretraining experiment, resolved: complete, typed, immutable."""

    data: DataConfig = DataConfig()
    cleaning: CleaningConfig = CleaningConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    masking: MaskingConfig = MaskingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()

    @property
    def attention_backend(self) -> str:
        return self.model.attention_backend
