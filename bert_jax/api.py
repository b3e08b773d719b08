"""The Python API: `load` a trained encoder from wherever it is, and use it.

import bert_jax

model = bert_jax.load("runs/quickstart")      # a workdir, our export, a Hugging Face directory, a TF1 checkpoint
model.fill_mask("Returns the [MASK] of the list.", top_k=3)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Config, ModelConfig
from bert_jax.errors import UserError
from bert_jax.models import inference as program
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.interop.load import LoadReport

# Lengths that texts are padded to, so that few shapes are compiled.
_BUCKETS = (16, 32, 64, 128, 256, 512)
_MASK = "[MASK]"

Part = Literal["discriminator", "generator"]


@dataclasses.dataclass(frozen=True)
class Output:
    """A forward pass at every position. None where the checkpoint has no such head."""

    hidden_states: tuple[jax.Array, ...]
    """num_layers + 1 of [B, L, D], the embeddings first"""
    attentions: tuple[jax.Array, ...]
    """num_layers of [B, H, L, L] after the softmax; empty unless asked for"""
    pooled_BD: jax.Array | None
    mlm_logits_BLV: jax.Array | None
    pair_logits_BC: jax.Array | None
    rtd_logits_BL: jax.Array | None
    """positive: the token is taken for a replaced one (ELECTRA)"""

    @property
    def hidden_BLD(self) -> jax.Array:
        """The last layer's output."""
        return self.hidden_states[-1]


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

    def __call__(self, tokens_BL, type_ids_BL=None, mask_BL=None, *, attentions: bool = False) -> Output:
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
        return Output(**self._forward(self.params, tokens_BL, types_BL, mask_BL, attentions=attentions))

    @functools.cached_property
    def _forward(self):
        has_cudnn = jax.default_backend() == "gpu"  # a model that was trained with it must run without
        config = self.config if has_cudnn else dataclasses.replace(self.config, attention_backend="xla")

        @functools.partial(jax.jit, static_argnames="attentions")
        def forward(params, tokens_BL, type_ids_BL, mask_BL, *, attentions):
            out = program.forward(config, params, tokens_BL, type_ids_BL, mask_BL, attentions=attentions)
            return {
                "hidden_states": out.hidden_states,
                "attentions": out.attentions,
                "pooled_BD": None if out.pooled_BPD is None else out.pooled_BPD[:, 0],
                "mlm_logits_BLV": out.mlm_logits_BMV,
                "pair_logits_BC": None if out.pair_logits_BPC is None else out.pair_logits_BPC[:, 0],
                "rtd_logits_BL": out.rtd_logits_BL,
            }

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


def load(directory: str | Path, *, checkpoint: str = "last", part: Part | None = None) -> Model:
    """Opens a trained model: see `load_parts`.

    Raises:
      UserError: the directory is none of these, is damaged, or has no such checkpoint or part.
    """
    config, params, tokenizer, report = load_parts(directory, checkpoint=checkpoint, part=part)
    return Model(config, jax.tree.map(jnp.asarray, params), tokenizer, report)


def load_parts(
    directory: str | Path, *, checkpoint: str = "last", part: Part | None = None
) -> tuple[ModelConfig, Any, Tokenizer | None, LoadReport | None]:
    """The architecture, parameters and tokenizer in a directory, and what its file had less or more.

    The directory is a workdir of `bert-jax pretrain`, an export of ours, a Hugging Face directory or
    google-research's TF1 checkpoint. Parameters lack the heads that are not there. The tokenizer is None
    where there is none; the report is, where the file can only be complete.

    Args:
      checkpoint: of a workdir, "last", "best" or a step.
      part: of a run of replaced-token detection, which of its two encoders; None: the discriminator.

    Raises:
      UserError: the directory is none of these, is damaged, or has no such checkpoint or part.
    """
    from bert_jax.interop import native as ours
    from bert_jax.interop import tf1
    from bert_jax.interop.load import load_hf
    from bert_jax.training.workdir import is_workdir

    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(
            f"no such directory: {directory}; a model of the Hugging Face hub must be downloaded first"
            " (hf download NAME --local-dir DIR)"
        )
    if part is not None and not is_workdir(directory):
        raise UserError(f"{directory}: has no {part}: only the workdir of a run with objective.name=rtd has")
    report: LoadReport | None = None
    if is_workdir(directory):
        config, params = load_workdir(directory, checkpoint=checkpoint, part=part)
    elif ours.is_ours(directory):
        config, params = ours.load_ours(directory)
    elif tf1.is_tf1(directory):
        config, params, report = tf1.load_tf1(directory)
    elif (directory / "config.json").is_file():
        config, params, report = load_hf(directory)
    else:
        raise UserError(f"{directory}: {_unknown(directory)}")
    return config, params, _load_tokenizer(directory), report


def load_workdir(
    directory: Path, *, checkpoint: str = "last", part: Part | None = None
) -> tuple[ModelConfig, Any]:
    """Architecture and parameters (on the first device) of a workdir's checkpoint, for inference."""
    from bert_jax.config.electra import discriminator_config, generator_config
    from bert_jax.models import electra as replaced
    from bert_jax.training.checkpoint import Checkpoints
    from bert_jax.training.workdir import read_config

    config, _ = read_config(directory)
    objective = config.objective
    is_pair = objective.name == "rtd"
    if part is not None and not is_pair:
        raise UserError(f"{directory}: has no {part}: the run has objective.name={objective.name}, not rtd")

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), _trained_shapes(config)
    )
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{directory} has no checkpoints: the run saved none yet")
    with Checkpoints(folder, read_only=True) as checkpoints:
        params = checkpoints.restore_params(abstract, checkpoints.choose(checkpoint))
    if not is_pair:
        return config.model, params
    if part == "generator":
        model = generator_config(config.model, objective)
        return model, replaced.generator_params(params, objective.embedding_sharing)
    params = replaced.discriminator_params(params, objective.embedding_sharing)
    return discriminator_config(config.model), params


def _trained_shapes(config: Config) -> Any:
    """Shapes of the parameters that a run trains: of one encoder, or of replaced-token detection's two."""
    from bert_jax.models import bert
    from bert_jax.models import electra as replaced

    key = jax.random.key(0)
    if config.objective.name == "rtd":
        return jax.eval_shape(lambda: replaced.init_params(config, key))
    return jax.eval_shape(lambda: bert.init_params(config.model, key))


def _unknown(directory: Path) -> str:
    """Why a directory without any of the files that tell a kind is no model."""
    from bert_jax.interop.names import listed

    found = listed(sorted(path.name for path in directory.iterdir())) or "nothing"
    return (
        "no model that can be read here: must be the workdir of a run (config.json of bert_jax), an export with"
        " bert_jax.json, a Hugging Face directory (config.json with safetensors) or a TF1 checkpoint"
        f" (NAME.index); it holds {found}"
    )


def _load_tokenizer(directory: Path) -> Tokenizer | None:
    from bert_jax.interop.load import load_tokenizer
    from bert_jax.text.files import has_tokenizer

    return load_tokenizer(directory) if has_tokenizer(directory) else None
