"""The Python API: `load` a trained encoder from wherever it is, and use it.

import bert_jax

model = bert_jax.load("runs/quickstart")      # a workdir, an export, a Hugging Face directory, a TF1 checkpoint;
                                              # or a model id: bert_jax.load("google-bert/bert-base-uncased")
model.fill_mask("Returns the [MASK] of the list.", top_k=3)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import ModelConfig
from bert_jax.config.finetune import TaskKind
from bert_jax.config.head import Pooling
from bert_jax.errors import UserError
from bert_jax.models.bert import Output
from bert_jax.models.inference import Inference, padded_length, padded_rows
from bert_jax.prediction.answer import Answered, AnswerOptions, answer
from bert_jax.prediction.classify import Classification, classify
from bert_jax.prediction.embed import embed
from bert_jax.prediction.similarity import similarity
from bert_jax.prediction.tag import TaggedText, tag
from bert_jax.tasks.average import average as average_checkpoints
from bert_jax.tasks.lists import finetune_lists
from bert_jax.tasks.load import LoadedModel, load_model
from bert_jax.tasks.run import pretrain
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.interop.load import LoadReport

__all__ = [
    "Answered", "Classification", "Finetuned", "Model", "Output", "Prediction", "TaggedText", "average",
    "finetune", "load", "pretrain",
]  # fmt: skip

_MASK = "[MASK]"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One candidate for a [MASK]; `token` as text has it, without the mark of a word's beginning."""

    token: str
    probability: float


class Model:
    """An encoder with the heads its checkpoint has, ready to be called.

    report: of a Hugging Face or TF1 directory, the heads it lacks and the tensors that were left aside.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Any,
        tokenizer: Tokenizer | None,
        report: LoadReport | None = None,
    ):
        self.config = config
        self.params = params
        self.report = report
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises `UserError` where the directory came without one."""
        if self._tokenizer is None:
            raise UserError(
                "the model's directory has no tokenizer (tokenizer.json, vocab.txt, ...): no text can be read"
            )
        return self._tokenizer

    @property
    def parameter_count(self) -> int:
        """Parameters that are there, heads included, each once however many layers share it."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def __call__(
        self, tokens_BL: Any, type_ids_BL: Any = None, mask_BL: Any = None, *, attentions: bool = False
    ) -> Output:
        """Runs the encoder and its heads on token ids [B, L].

        type_ids_BL: 0 for sentence A (the default everywhere), 1 for B. mask_BL: true for tokens, false
        for padding, which must come last; all true by default. attentions: also return the attention
        probabilities, whatever backend the config names.
        """
        tokens_BL = jnp.asarray(tokens_BL, jnp.int32)
        rows, length = tokens_BL.shape
        if length > self.config.max_positions:
            raise UserError(
                f"{length} tokens must be <= the model's max_positions={self.config.max_positions}"
            )
        types_BL = jnp.zeros((rows, length), jnp.int32) if type_ids_BL is None else jnp.asarray(type_ids_BL)
        mask_BL = jnp.ones((rows, length), bool) if mask_BL is None else jnp.asarray(mask_BL, bool)
        return self._inference(tokens_BL, types_BL, mask_BL, attentions=attentions)

    @functools.cached_property
    def _inference(self) -> Inference:
        return Inference(self.config, self.params, devices=jax.devices()[:1])

    def embed(
        self, texts: Sequence[str], *, pooling: Pooling | None = None, normalize: bool = False
    ) -> np.ndarray:
        """One vector for each text, float32 [N, D], in order. Long texts are cut.

        pooling: "mean" of a text's last states, or the state of its "cls"; None: as the model's embedding head or its
        directory of sentence-transformers has it, else the mean. normalize: make every vector one of length 1.
        """
        return embed(self, texts, pooling=pooling, normalize=normalize)

    def similarity(
        self, texts: Sequence[str], pairs: Sequence[str], *, pooling: Pooling | None = None
    ) -> np.ndarray:
        """The cosine of each text's vector and its partner's, [N]. Long texts are cut.

        Raises:
          UserError: not as many partners as texts.
        """
        return similarity(self, texts, pairs, pooling=pooling)

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Classification]:
        """The class, labels or number of each text, or of each text and its partner. Long texts are cut.

        Raises:
          UserError: the model has no head that reads texts.
        """
        return classify(self, texts, pairs)

    def tag(
        self, texts: Sequence[str | Sequence[str]], *, max_length: int = 0, stride: int = 0
    ) -> list[TaggedText]:
        """The tag of each word of each text, and the entities that the tags mark. Long texts are read in windows.

        Args:
          texts: each a text, which is cut into words at white space and around punctuation, or its words.
          max_length: tokens of a window; 0: as many as the model has positions.
          stride: tokens that neighbouring windows share; 0: a third of max_length.

        Raises:
          UserError: the model has no head that reads words; max_length is more than its positions; stride is not less.
        """
        return tag(self, texts, max_length=max_length, stride=stride)

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        *,
        null_threshold: float | None = None,
        max_length: int = 0,
        stride: int = 0,
        max_question: int = 64,
        max_answer: int = 30,
        n_best: int = 20,
    ) -> list[Answered]:
        """The answer to each question, a span of its context, which is read in windows if it is long.

        Args:
          null_threshold: None: there always is an answer. A number: the answer is "" where the null score is above the
            best span's by more than this, such as the best_f1_threshold of an evaluation.
          max_length: tokens of a window; 0: 384, or the positions of the model if they are fewer.
          stride: tokens of the context that neighbouring windows share; 0: a third of max_length.
          max_question: tokens of a question that are read.
          max_answer: tokens of an answer at most.
          n_best: first and last tokens of each window that are tried in pairs, and candidates that are kept.

        Raises:
          UserError: the model has no head for spans; another number of contexts; an empty text; a question that leaves
            no room for its context; a value out of its range.
        """
        options = AnswerOptions(
            null_threshold=null_threshold,
            max_length=max_length,
            stride=stride,
            max_question=max_question,
            max_answer=max_answer,
            n_best=n_best,
        )
        return answer(self, questions, contexts, options)

    def fill_mask(self, text: str, *, top_k: int = 5) -> list[list[Prediction]]:
        """For each [MASK] of `text`, in order, its `top_k` most probable tokens.

        A mask is written "[MASK]", whatever the vocabulary, or as the vocabulary has it ("<mask>").

        Raises:
          UserError: no [MASK], a text too long, a `top_k` that is not in 1..V, or a model without MLM head.
        """
        if not 1 <= top_k <= self.config.vocab_size:
            raise UserError(f"top_k={top_k} must be in 1..{self.config.vocab_size}, the vocabulary")
        [ids] = self._encode([text.replace(_MASK, self.tokenizer.names["mask"])])
        places = [i for i, token in enumerate(ids) if token == self.tokenizer.special.mask]
        if not places:
            raise UserError(f"nothing to fill: {text!r} has no [MASK]")
        if len(ids) > self.config.max_positions:
            raise UserError(
                f"the text has {len(ids)} tokens, the model takes {self.config.max_positions}: shorten it"
            )
        tokens_BL, mask_BL = self._pad([ids])
        logits_BLV = self(tokens_BL, mask_BL=mask_BL).mlm_logits_BLV
        if logits_BLV is None:
            raise UserError("the model has no masked-language-model head: it cannot fill a mask")
        probabilities_MV = np.asarray(jax.nn.softmax(logits_BLV[0, np.array(places)], axis=-1))
        return [
            [
                Prediction(self.tokenizer.readable(int(i)), float(row_V[i]))
                for i in np.argsort(-row_V, kind="stable")[:top_k]
            ]
            for row_V in probabilities_MV
        ]

    def compute(
        self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]] | None = None
    ) -> Output:
        """The outputs for sequences of token ids, each a row, padded to one length.

        type_ids: as many; what the model does not tell apart is 0.
        """
        tokens_BL, mask_BL = self._filled(ids)
        types_BL = np.zeros_like(tokens_BL)
        if type_ids is not None:
            for row, types in zip(types_BL, type_ids, strict=False):
                row[: len(types)] = np.minimum(types, max(self.config.type_vocab_size - 1, 0))
        output: Output = jax.tree.map(lambda x: x[: len(ids)], self(tokens_BL, types_BL, mask_BL))
        return output

    def vectors(self, ids: Sequence[Sequence[int]], *, pooling: Pooling) -> jax.Array:
        """A vector for each sequence of token ids, float32 [B, D], padded to one length; may still be computing."""
        tokens_BL, mask_BL = self._filled(ids)
        types_BL = np.zeros_like(tokens_BL)
        return self._inference.vectors(tokens_BL, types_BL, mask_BL, pooling=pooling)[: len(ids)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.encode_batch(list(texts), special=True)

    def _filled(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Padded to one length and, with empty rows, to a number of rows that many batches have: each is compiled."""
        tokens_BL, mask_BL = self._pad(rows)
        spare = ((0, padded_rows(len(rows)) - len(rows)), (0, 0))
        return np.pad(tokens_BL, spare), np.pad(mask_BL, spare)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        length = padded_length(max(map(len, rows)), self.config.max_positions)
        tokens_BL = np.full((len(rows), length), self.tokenizer.special.pad, np.int32)
        for row, ids in zip(tokens_BL, rows, strict=True):
            row[: len(ids)] = ids
        lengths_B1 = np.array([[len(ids)] for ids in rows])
        return tokens_BL, np.arange(length) < lengths_B1


class Finetuned(NamedTuple):
    """What `finetune` gives."""

    model: Model
    """with the parameters of the best evaluation"""
    scores: dict[str, float]
    """of that evaluation; {} without one"""


def finetune(
    model: Model | str | Path,
    *,
    train: Sequence[Sequence[Any]],
    eval: Sequence[Sequence[Any]] = (),
    task: TaskKind = "classification",
    epochs: float = 3.0,
    learning_rate: float = 3e-5,
    batch_size: int = 32,
    folder: str | Path | None = None,
    **values: Any,
) -> Finetuned:
    """Fine-tunes a model on examples in memory: (text, label), or (text, partner, label) of a pair.

    A label is a class's name, of task="multilabel" a list of names, of task="regression" a number. Of task="tagging" an
    example is (words, tags), two lists of one length; of task="similarity" (text, partner, number), and with
    task__loss="contrastive" training takes (text, partner) too; of task="question_answering" (question, context,
    answers), the answers a list of (text, its first character) or of texts that are looked for in the context, [] if it
    holds none.

    Args:
      model: a loaded model, or what `load` takes.
      eval: scored, whole, after each epoch; the best epoch's parameters are kept.
      folder: where the run lives; the same call again resumes it. None: a temporary folder.
      values: any other value of the configuration, with "__" for the dot: optim__schedule="cosine",
        optim__weight_decay=0.01, seed=1.

    Raises:
      ConfigError: a value that does not fit.
      UserError: examples or a model that cannot be used.
    """
    given = {name.replace("__", "."): value for name, value in values.items()}
    given |= {"train.epochs": epochs, "train.batch_size": batch_size, "optim.learning_rate": learning_rate}
    source = (
        model
        if isinstance(model, str | Path)
        else LoadedModel(model.config, model.params, model.tokenizer, None)
    )
    with contextlib.ExitStack() as stack:
        place = folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="bert_jax-"))
        workdir, scores = finetune_lists(
            source, Path(place), train=train, evaluation=eval, task=task, values=given
        )
        return Finetuned(load(workdir, checkpoint="best"), scores)


def load(directory: str | Path, *, checkpoint: str = "last", part: str | None = None) -> Model:
    """Opens a trained model: the workdir of a run, an export, a Hugging Face directory or a TF1 checkpoint.

    Args:
      directory: or the id of a model of the Hugging Face hub: "org/name", or "org/name@revision" for a branch, tag
        or commit. It is downloaded once; without a network the hub's cache is used.
      checkpoint: of a workdir, "last", "best" or a step.
      part: of a run of replaced-token detection, "discriminator" (as None) or "generator".

    Raises:
      UserError: the directory is none of these, is damaged, or has no such checkpoint or part; the hub has no such
        model, or cannot be reached.
    """
    found = load_model(directory, checkpoint=checkpoint, part=part)
    return Model(found.config, jax.tree.map(jnp.asarray, found.params), found.tokenizer, found.report)


def average(workdir: str | Path, checkpoints: Sequence[str | int], *, part: str | None = None) -> Model:
    """The mean of the parameters of two or more checkpoints of a run, as a model.

    Args:
      checkpoints: steps, "best", "last", or "last:N" for the last N.
      part: of a run of replaced-token detection, "discriminator" (as None) or "generator".

    Raises:
      UserError: no workdir; a checkpoint or a part that is not there; one checkpoint alone.
    """
    found = average_checkpoints(Path(workdir), [str(name) for name in checkpoints], part=part).model
    return Model(found.config, jax.tree.map(jnp.asarray, found.params), found.tokenizer)
