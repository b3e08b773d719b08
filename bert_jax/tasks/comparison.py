"""What a configuration of distillation compares of a student and its teachers: losses, what each model must give for
them, and what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from bert_jax.config import DistilConfig, ModelConfig
from bert_jax.config.distil import RELATIONS
from bert_jax.models.attention import Item
from bert_jax.models.teacher import Needs
from bert_jax.objectives import distillation
from bert_jax.objectives.distillation import Loss, SoftKind
from bert_jax.objectives.kept import soft_top

_ITEMS: Mapping[str, Item] = {
    "attention_mse": "scores",
    "attention_kl": "probabilities",
    "query_relation": "queries",
    "key_relation": "keys",
    "value_relation": "values",
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A student's and a teacher's architecture, and the losses between them.

    soft_kind: whose predictions `distil.soft` compares.
    """

    distil: DistilConfig
    student: ModelConfig
    teacher: ModelConfig
    soft_kind: SoftKind

    # Layers -----------------------------------------------------------------------------------------------

    @property
    def layer_map(self) -> tuple[int, ...]:
        """The teacher's layer for each of the student's."""
        if self.distil.layer_map:
            return self.distil.layer_map
        block = self.teacher.num_layers // self.student.num_layers
        return tuple(block * (layer + 1) - 1 for layer in range(self.student.num_layers))

    @property
    def last(self) -> tuple[int, int]:
        """The layers that attention_kl and relations compare."""
        chosen = self.distil.relation_layer
        return self.student.num_layers - 1, self.teacher.num_layers - 1 if chosen is None else chosen

    @property
    def relation_heads(self) -> int:
        return self.distil.relation_heads or self.teacher.num_heads

    @property
    def states(self) -> list[tuple[int, int]]:
        """The pairs of `Output.hidden_states` that hidden_mse compares, the embeddings first."""
        return [(0, 0), *((i + 1, j + 1) for i, j in enumerate(self.layer_map))]

    # Losses -----------------------------------------------------------------------------------------------

    def losses(self) -> list[Loss]:
        """Those with a weight."""
        distil, padding = self.distil, "padding" in self.distil.quirks
        found: list[Loss] = []
        every_token = distil.soft_at == "all"
        if distil.soft and distil.cache and self.soft_kind == "mlm":
            found.append(soft_top(distil.soft, temperature=distil.temperature, every_token=every_token))
        elif distil.soft:
            found.append(
                distillation.soft(
                    self.soft_kind,
                    distil.soft,
                    temperature=distil.temperature,
                    every_token=every_token,
                    embedding=distil.embedding,
                    divide_by_classes="mean_of_classes" in distil.quirks,
                )
            )
        if distil.hidden_cosine:
            found.append(distillation.hidden_cosine(distil.hidden_cosine))
        if distil.hidden_mse:
            found.append(distillation.hidden_mse(distil.hidden_mse, self.states, padding=padding))
        if distil.attention_mse:
            pairs = list(enumerate(self.layer_map))
            found.append(distillation.attention_mse(distil.attention_mse, pairs, padding=padding))
        if distil.attention_kl:
            found.append(distillation.attention_kl(distil.attention_kl, self.last))
        for name in ("query", "key", "value"):
            if scale := getattr(distil, f"{name}_relation"):
                found.append(
                    distillation.relation(name, scale, self.last, heads=self.relation_heads)  # type: ignore[arg-type]
                )
        return found

    def student_record(self) -> dict[int, frozenset[Item]]:
        """What the losses read of the student's attention."""
        return self._record(0)

    def teacher_needs(self) -> Needs:
        """What the losses read of the teacher."""
        distil = self.distil
        heads = ("mlm",) if self.soft_kind == "mlm" else ("task",)
        return Needs(heads if distil.soft else (), max(self.teacher_states, default=0), self._record(1))

    @property
    def teacher_states(self) -> tuple[int, ...]:
        """Those of the teacher's `Output.hidden_states` that losses read."""
        found = {j for _, j in self.states} if self.distil.hidden_mse else set()
        if self.distil.hidden_cosine:
            found.add(self.teacher.num_layers)
        return tuple(sorted(found))

    def _record(self, side: int) -> dict[int, frozenset[Item]]:
        """side: 0 of the student, 1 of the teacher."""
        found: dict[int, set[Item]] = {}
        for name, item in _ITEMS.items():
            if not getattr(self.distil, name):
                continue
            pairs = enumerate(self.layer_map) if name == "attention_mse" else (self.last,)
            for pair in pairs:
                found.setdefault(pair[side], set()).add(item)
        return {layer: frozenset(items) for layer, items in found.items()}

    # What does not fit ------------------------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """Losses that need the two models to be alike where they are not."""
        distil, student, teacher = self.distil, self.student, self.teacher
        if distil.hidden_cosine and student.hidden_size != teacher.hidden_size:
            yield (
                f"config.distil.hidden_cosine={distil.hidden_cosine} must go with equal widths: the student's is"
                f" {student.hidden_size}, the teacher's {teacher.hidden_size}; hidden_mse projects"
            )
        for name in ("attention_mse", "attention_kl"):
            if getattr(distil, name) and student.num_heads != teacher.num_heads:
                yield (
                    f"config.distil.{name}={getattr(distil, name)} must go with equal heads: the student has"
                    f" {student.num_heads}, the teacher {teacher.num_heads}; relations compare any"
                )
        yield from self._map_faults()
        if distil.relation_layer is not None and distil.relation_layer >= teacher.num_layers:
            yield (
                f"config.distil.relation_layer={distil.relation_layer} must be < {teacher.num_layers}, the layers of the"
                " teacher"
            )
        widths = student.hidden_size, teacher.hidden_size
        compares = any(getattr(distil, name) for name in RELATIONS)
        if compares and any(width % self.relation_heads for width in widths):
            yield (
                f"config.distil.relation_heads={self.relation_heads} must divide both widths: the student's is {widths[0]},"
                f" the teacher's {widths[1]}"
            )
        if distil.student_layers and max(distil.student_layers) >= teacher.num_layers:
            yield (
                f"config.distil.student_layers={_listed(distil.student_layers)} must be < {teacher.num_layers}, the layers"
                " of the teacher"
            )
        if distil.student_layers and len(distil.student_layers) != student.num_layers:
            yield (
                f"config.distil.student_layers={_listed(distil.student_layers)} must name {student.num_layers} layers, as"
                " many as the student has"
            )
        if distil.soft and self.soft_kind == "embedding" and student.hidden_size != teacher.hidden_size:
            yield (
                f"config.distil.soft={distil.soft} must go with equal widths for vectors: the student's is"
                f" {student.hidden_size}, the teacher's {teacher.hidden_size}"
            )

    def _map_faults(self) -> Iterator[str]:
        distil, layers, theirs = self.distil, self.student.num_layers, self.teacher.num_layers
        if not (distil.hidden_mse or distil.attention_mse):
            return
        chosen = distil.layer_map
        if not chosen and (theirs < layers or theirs % layers):
            yield (
                f"config.distil.layer_map must be given where the student's {layers} layers do not divide the teacher's"
                f" {theirs}"
            )
        if chosen and len(chosen) != layers:
            yield (
                f"config.distil.layer_map={_listed(chosen)} must name a layer for each of the student's {layers}"
            )
        if chosen and max(chosen) >= theirs:
            yield f"config.distil.layer_map={_listed(chosen)} must be < {theirs}, the layers of the teacher"


def _listed(values: tuple[Any, ...]) -> str:
    return ",".join(map(str, values))
