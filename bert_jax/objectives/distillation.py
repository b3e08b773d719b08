"""The losses of distillation, each over real tokens only, and their sum with the student's own.

DistilBERT (Sanh et al. 2019), TinyBERT (Jiao et al. 2020), MiniLM and MiniLMv2 (Wang et al. 2020, 2021), and soft targets
for any task head. A loss is a sum and a weight that depends on the batch alone, as everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.objectives import hidden_states, relations, soft_targets
from bert_jax.objectives.span import own_tokens
from bert_jax.objectives.sums import Objective, Sums
from bert_jax.objectives.tokens import pairs_of_tokens, real_tokens

Array = jax.Array
SoftKind = Literal["mlm", "classification", "multilabel", "regression", "tagging", "span", "embedding"]
_MASKED = -1e30


class Compared(NamedTuple):
    """The outputs of both models for the same rows."""

    student: Any
    """`bert.Output`"""
    teachers: Sequence[Any]
    projection: Any
    """{"kernel", "bias"} from the student's width to the teacher's; None: no loss reads it"""


class Loss(NamedTuple):
    """One term of the loss: scale x sum / weight."""

    name: str
    scale: float
    sum: Callable[[Compared, Any], Array]
    weight: Callable[[Any], Array]


Forward = Callable[..., Any]


def distillation(
    base: Objective,
    losses: Sequence[Loss],
    *,
    student: Forward,
    teachers: Callable[[Any, Any], Sequence[Any]],
    hard: float,
    every_token: bool,
    scores_base: bool,
) -> Objective:
    """`hard` times the terms of `base`, and `losses`.

    Args:
      base: the student's own objective.
      student: (params, batch, dropout_key) -> `bert.Output`.
      teachers: (constants, batch) -> their outputs, without gradients.
      every_token: whether the MLM heads give logits at every token, of which `base` reads those of the masked ones.
      scores_base: whether the metrics of `base` are given; otherwise nothing of it is computed.
    """

    def rows_of(batch: Any) -> Any:
        if not every_token:
            return batch
        length = batch["tokens_BL"].shape[1]
        return {**batch, "mlm_positions_BM": jnp.broadcast_to(jnp.arange(length), batch["tokens_BL"].shape)}

    def own(output: Any, batch: Any) -> Any:
        """The student's output as `base` reads it."""
        if not every_token:
            return output
        places_BM1 = batch["mlm_positions_BM"][..., None]
        return dataclasses.replace(
            output, mlm_logits_BMV=jnp.take_along_axis(output.mlm_logits_BMV, places_BM1, axis=1)
        )

    def forward(params: Any, constants: Any, batch: Any, dropout_key: Array | None) -> Compared:
        rows = rows_of(batch)
        projection = params.get("distil", {}).get("projection")
        return Compared(student(params, rows, dropout_key), teachers(constants, rows), projection)

    def sums(compared: Compared, batch: Any) -> Sums:
        found = dict(base.sums(own(compared.student, batch), batch)) if scores_base else {}
        for loss in losses:
            found[loss.name] = (loss.sum(compared, batch), loss.weight(batch))
        return found

    def weights(batch: Any) -> dict[str, Array]:
        of_base = base.weights(batch) if hard else {}
        return {**of_base, **{loss.name: loss.weight(batch) for loss in losses}}

    of_base = {name: hard * scale for name, scale in base.terms.items()} if hard else {}
    return Objective(
        forward=forward,
        sums=sums,
        weights=weights,
        terms={**of_base, **{loss.name: loss.scale for loss in losses}},
        predictions=lambda compared, batch: base.predictions(own(compared.student, batch), batch),
    )


# ---------------------------------------------------------------------------------------------
# Hidden states and attention
# ---------------------------------------------------------------------------------------------


def _real(batch: Any) -> Array:
    return jnp.sum(real_tokens(batch))


def hidden_cosine(scale: float) -> Loss:
    """1 - cosine of the last hidden states, mean over tokens (DistilBERT)."""

    def total(c: Compared, batch: Any) -> Array:
        distance_BL = hidden_states.cosine_distance(c.student.hidden_BLD, c.teachers[0].hidden_BLD)
        return jnp.sum(distance_BL * real_tokens(batch))

    return Loss("hidden_cosine_loss", scale, total, _real)


def hidden_mse(scale: float, pairs: Sequence[tuple[int, int]], *, padding: bool = False) -> Loss:
    """Squared error of the student's states, projected, and the teacher's: mean over tokens and width, sum over `pairs`
    of `Output.hidden_states` (Jiao et al. 2020, eq. 8 and 9).

    padding: the quirk: padding counts as a token.
    """

    def counted(batch: Any) -> Array:
        return jnp.ones_like(real_tokens(batch)) if padding else real_tokens(batch)

    def total(c: Compared, batch: Any) -> Array:
        errors = [
            hidden_states.squared_error(
                hidden_states.projected(c.projection, c.student.hidden_states[i]),
                c.teachers[0].hidden_states[j],
            )
            for i, j in pairs
        ]
        return jnp.sum(sum(errors) * counted(batch))

    return Loss("hidden_mse_loss", scale, total, lambda batch: jnp.sum(counted(batch)))


def attention_mse(scale: float, pairs: Sequence[tuple[int, int]], *, padding: bool = False) -> Loss:
    """Squared error of attention scores before the softmax: mean over heads and pairs of tokens of the same example, sum
    over `pairs` of layers (Jiao et al. 2020, eq. 7).

    padding: the quirk: queries that are padding count, and keys that are with an error of 0.
    """

    def total(c: Compared, batch: Any) -> Array:
        allowed_BLT = pairs_of_tokens(batch)
        if padding:
            keys_BT = batch["pack_ids_BL"] > 0
            allowed_BLT = jnp.broadcast_to(keys_BT[:, None], allowed_BLT.shape)
        errors = [
            relations.scores_error(
                c.student.internals[i].scores_BHLT, c.teachers[0].internals[j].scores_BHLT, allowed_BLT
            )
            for i, j in pairs
        ]
        return jnp.sum(sum(errors))

    def weight(batch: Any) -> Array:
        rows, length = batch["tokens_BL"].shape
        if padding:
            return jnp.float32(rows * length * length)
        return jnp.sum(pairs_of_tokens(batch).astype(jnp.float32))

    return Loss("attention_mse_loss", scale, total, weight)


def attention_kl(scale: float, pair: tuple[int, int]) -> Loss:
    """KL of the attention distributions of a pair of layers, mean over tokens and heads (Wang et al. 2020, eq. 4)."""
    i, j = pair

    def total(c: Compared, batch: Any) -> Array:
        divergence_BL = relations.attention_divergence(
            c.student.internals[i].probabilities_BHLT, c.teachers[0].internals[j].probabilities_BHLT
        )
        return jnp.sum(divergence_BL * real_tokens(batch))

    return Loss("attention_kl_loss", scale, total, _real)


_FIELDS = {"query": "queries_BLHK", "key": "keys_BTHK", "value": "values_BTHK"}


def relation(
    name: Literal["query", "key", "value"], scale: float, pair: tuple[int, int], *, heads: int
) -> Loss:
    """KL of the relations among queries, keys or values of a pair of layers, mean over tokens and relation heads (Wang
    et al. 2021, eq. 4 to 6)."""
    i, j = pair

    def total(c: Compared, batch: Any) -> Array:
        ours, theirs = (
            getattr(x, _FIELDS[name]) for x in (c.student.internals[i], c.teachers[0].internals[j])
        )
        divergence_BL = relations.relation_divergence(ours, theirs, pairs_of_tokens(batch), heads=heads)
        return jnp.sum(divergence_BL * real_tokens(batch))

    return Loss(f"{name}_relation_loss", scale, total, _real)


# ---------------------------------------------------------------------------------------------
# Predictions
# ---------------------------------------------------------------------------------------------


def soft(
    kind: SoftKind,
    scale: float,
    *,
    temperature: float,
    every_token: bool = False,
    embedding: Literal["cosine", "mse"] = "cosine",
    divide_by_classes: bool = False,
) -> Loss:
    """The loss of `soft_targets` of a head, mean over its predictions: masked or all tokens, texts, words with a tag,
    windows (the mean of first and last token), vectors.

    embedding: how vectors are compared. divide_by_classes: the quirk "mean_of_classes".
    """

    def classes(student_XC: Array, teachers: Sequence[Array]) -> Array:
        loss_X = soft_targets.soft_classes(student_XC, teachers, temperature=temperature)
        return loss_X / student_XC.shape[-1] if divide_by_classes else loss_X

    def each(c: Compared, batch: Any) -> Array:
        """The loss at every place of the head."""
        field = PREDICTIONS[kind]
        ours, theirs = getattr(c.student, field), [getattr(teacher, field) for teacher in c.teachers]
        if kind == "multilabel":
            return soft_targets.soft_labels(ours, theirs, temperature=temperature)
        if kind == "regression":
            return soft_targets.soft_numbers(ours, theirs)
        if kind == "span":
            return _of_spans(ours, theirs, batch, classes)
        if kind == "embedding":
            target_BPD = theirs[0] if len(theirs) == 1 else hidden_states.mean_vector(theirs)
            compare = {"cosine": hidden_states.cosine_distance, "mse": hidden_states.squared_error}
            return compare[embedding](ours, target_BPD)
        return classes(ours, theirs)

    def weights(batch: Any) -> Array:
        if kind == "mlm":
            return prediction_weights(batch, every_token=every_token)
        if kind == "tagging":
            return (batch["tags_BL"] >= 0).astype(jnp.float32)
        return batch["weights_BP"]  # type: ignore[no-any-return]

    return Loss(
        "soft_loss",
        scale,
        lambda c, batch: jnp.sum(each(c, batch) * weights(batch)),
        lambda batch: jnp.sum(weights(batch)),
    )


def prediction_weights(batch: Any, *, every_token: bool) -> Array:
    """1 where the predictions of two masked language models are compared: [B, L] at every token, else [B, M]."""
    return real_tokens(batch) if every_token else batch["mlm_weights_BM"]


PREDICTIONS: dict[SoftKind, str] = {
    "mlm": "mlm_logits_BMV",
    "classification": "class_logits_BPC",
    "multilabel": "class_logits_BPC",
    "regression": "class_logits_BPC",
    "tagging": "token_logits_BLC",
    "span": "token_logits_BLC",
    "embedding": "embeddings_BPD",
}
"""The field of `bert.Output` that the soft loss of each head reads."""


def _of_spans(
    student_BL2: Array, teachers: Sequence[Array], batch: Batch, classes: Callable[..., Array]
) -> Array:
    """Half the loss of the first token and half that of the last, over each window's own tokens, [B, P]."""
    is_own_BPL = own_tokens(batch)

    def of_windows(logits_BL2: Array, place: int) -> Array:
        return jnp.where(is_own_BPL, logits_BL2[:, None, :, place].astype(jnp.float32), _MASKED)

    halves = [
        classes(of_windows(student_BL2, place), [of_windows(t_BL2, place) for t_BL2 in teachers])
        for place in (0, 1)
    ]
    return (halves[0] + halves[1]) / 2
