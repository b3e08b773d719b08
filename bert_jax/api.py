"""The Python API: `load` a trained encoder from wherever it is, and use it.

import bert_jax

model = bert_jax.load("runs/quickstart")      # a workdir, our export, or a Hugging Face directory
model.fill_mask("Returns the [MASK] of the list.", top_k=3)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import ModelConfig
from bert_jax.errors import UserError
from bert_jax.models.attention import visibility
from bert_jax.models.bert import Embeddings, init_params
from bert_jax.models.encoder import Encoder
from bert_jax.models.heads import MlmHead, PairHead, Pooler
from bert_jax.text.tokenizer import Tokenizer

# Lengths that texts are padded to, so that few shapes are compiled.
_BUCKETS = (16, 32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Output:
    """A forward pass at every position. None where the checkpoint has no such head."""

    hidden_states: tuple[jax.Array, ...]
    """num_layers + 1 of [B, L, D], the embeddings first"""
    pooled_BD: jax.Array | None
    mlm_logits_BLV: jax.Array | None
    pair_logits_BC: jax.Array | None

    @property
    def hidden_BLD(self) -> jax.Array:
        """The last layer's output."""
        return self.hidden_states[-1]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One candidate for a [MASK]."""

    token: str
    probability: float


class Model:
    """An encoder with the heads its checkpoint has, ready to be called."""

    def __init__(self, config: ModelConfig, params: Any, tokenizer: Tokenizer | None):
        self.config = config
        self.params = params
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises `UserError` where the directory came without one."""
        if self._tokenizer is None:
            raise UserError(
                "the model's directory has no tokenizer (tokenizer.json, vocab.txt, ...): no text can be read"
            )
        return self._tokenizer

    def __call__(self, tokens_BL, type_ids_BL=None, mask_BL=None) -> Output:
        """Runs the encoder and its heads on token ids [B, L].

        type_ids_BL: 0 for sentence A (the default everywhere), 1 for B. mask_BL: true for tokens, false
        for padding, which must come last; all true by default.
        """
        tokens_BL = jnp.asarray(tokens_BL, jnp.int32)
        rows, length = tokens_BL.shape
        if length > self.config.max_positions:
            raise UserError(
                f"{length} tokens must be <= the model's max_positions={self.config.max_positions}"
            )
        types_BL = jnp.zeros((rows, length), jnp.int32) if type_ids_BL is None else jnp.asarray(type_ids_BL)
        mask_BL = jnp.ones((rows, length), bool) if mask_BL is None else jnp.asarray(mask_BL, bool)
        return Output(*self._forward(self.params, tokens_BL, types_BL, mask_BL))

    @functools.cached_property
    def _forward(self):
        config = self.config

        def part(module, params, *inputs):
            return module(config).apply({"params": params}, *inputs)

        @jax.jit
        def forward(params, tokens_BL, type_ids_BL, mask_BL):
            bert = params["bert"]
            positions_BL = jnp.broadcast_to(jnp.arange(tokens_BL.shape[1]), tokens_BL.shape)
            visible = visibility(mask_BL.astype(jnp.int32), packed=False)
            x_BLD = part(Embeddings, bert["embeddings"], tokens_BL, type_ids_BL, positions_BL, None)
            states = part(Encoder, bert["encoder"], x_BLD, visible, None)
            pooled_BD = mlm_BLV = pair_BC = None
            if "pooler" in bert:
                pooled_BD = part(Pooler, bert["pooler"], states[-1][:, :1])[:, 0]
            if "mlm_head" in params:
                mlm_BLV = part(MlmHead, params["mlm_head"], states[-1], bert["embeddings"]["token"])
            if "pair_head" in params and pooled_BD is not None:
                pair_BC = part(PairHead, params["pair_head"], pooled_BD)
            return states, pooled_BD, mlm_BLV, pair_BC

        return forward

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One vector a text, [B, D]: the mean of its tokens' last states. Long texts are cut."""
        limit = self.config.max_positions
        ids = [row[: limit - 1] + row[-1:] if len(row) > limit else row for row in self._encode(texts)]
        tokens_BL, mask_BL = self._pad(ids)
        hidden_BLD = self(tokens_BL, mask_BL=mask_BL).hidden_BLD.astype(jnp.float32)
        weights_BL1 = jnp.asarray(mask_BL, jnp.float32)[..., None]
        return np.asarray((hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1))

    def fill_mask(self, text: str, *, top_k: int = 5) -> list[list[Prediction]]:
        """For each [MASK] of `text`, in order, its `top_k` most probable tokens.

        Raises:
          UserError: no [MASK], a text too long, a `top_k` that is not in 1..V, or a model without MLM head.
        """
        if not 1 <= top_k <= self.config.vocab_size:
            raise UserError(f"top_k={top_k} must be in 1..{self.config.vocab_size}, the vocabulary")
        [ids] = self._encode([text])
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
                Prediction(self.tokenizer.token(int(i)), float(row_V[i]))
                for i in np.argsort(-row_V, kind="stable")[:top_k]
            ]
            for row_V in probabilities_MV
        ]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.encode_batch(list(texts), special=True)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        longest = max(map(len, rows))
        length = next((size for size in _BUCKETS if size >= longest), longest)
        length = min(length, max(self.config.max_positions, longest))
        tokens_BL = np.full((len(rows), length), self.tokenizer.special.pad, np.int32)
        for row, ids in zip(tokens_BL, rows, strict=True):
            row[: len(ids)] = ids
        lengths_B1 = np.array([[len(ids)] for ids in rows])
        return tokens_BL, np.arange(length) < lengths_B1


def load(directory: str | Path, *, checkpoint: str = "last") -> Model:
    """Opens a trained model: a workdir of `bert-jax pretrain`, our export, or a Hugging Face directory.

    checkpoint: of a workdir, "last", "best" or a step.

    Raises:
      UserError: the directory is none of these, is damaged, or has no such checkpoint.
    """
    from bert_jax.training.workdir import is_workdir

    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"no such directory: {directory}")
    if is_workdir(directory):
        config, params = load_workdir(directory, checkpoint=checkpoint)
    else:
        from bert_jax.interop.load import load_hf

        config, params, _ = load_hf(directory)
        params = jax.tree.map(jnp.asarray, params)
    return Model(config, params, _load_tokenizer(directory))


def load_workdir(directory: Path, *, checkpoint: str = "last") -> tuple[ModelConfig, Any]:
    """Architecture and parameters (on the first device) of a workdir's checkpoint, for inference."""
    from bert_jax.training.checkpoint import Checkpoints
    from bert_jax.training.workdir import read_config

    config, _ = read_config(directory)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: init_params(config.model, jax.random.key(0)))
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), shapes)
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{directory} has no checkpoints: the run saved none yet")
    with Checkpoints(folder, read_only=True) as checkpoints:
        return config.model, checkpoints.restore_params(abstract, checkpoints.choose(checkpoint))


def _load_tokenizer(directory: Path) -> Tokenizer | None:
    from bert_jax.interop.load import load_tokenizer
    from bert_jax.text.files import has_tokenizer

    return load_tokenizer(directory) if has_tokenizer(directory) else None
