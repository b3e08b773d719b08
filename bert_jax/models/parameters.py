"""Every parameter, declared once: its path, axes, torch layout, the configs that have it, its kind, its decay.

Sharding (`training.parallel`), optimizer groups and weight decay (`training.optim`), the bridge to Hugging Face
(`interop.names`) and the transfer from another model read this table. A leaf that it does not cover is an error.

Axes are letters, one meaning everywhere: D embed, d embed on the output side of a D x D projection, E embedding
table, H heads, K head dim, F mlp, V vocab; S positions, Y segment types, R rows of the relative table, W convolution
taps, C classes of a task head, 1 one, 2 two. Beside our order of the axes stands a torch module's, whose letters written together are one
axis: a torch Linear keeps [out, in], ours [in, out] with the heads as axes of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.config.model import ModelConfig

Kind = Literal["matrix", "table", "vector"]
"""matrix: a linear map, of which some axes are inputs and the others outputs; table: rows that are looked up; vector:
biases and scales."""

LAYER = "bert/encoder/layer_{i}/"

HEADS = ("bert/pooler", "mlm_head", "pair_head", "rtd_head", "task_head")
"""The parts a checkpoint may lack; the rest, embeddings and layers, is the encoder."""


def _always(config: ModelConfig) -> bool:
    return True


def _never(config: ModelConfig) -> bool:
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of the model, or one of every layer, whose path then holds {i}."""

    path: str
    axes: str
    """one letter an axis, in our order"""
    torch: str = ""
    """the axes of a torch module's tensor, parted by spaces; empty: it has no like there"""
    kind: Kind
    exists: Callable[[ModelConfig], bool] = _always
    """whether a model of a config has it (of a head: once it has the head)"""
    adds_to_residual: bool = False
    """whether it makes what a layer adds to its input, or an output of the model: Megatron's smaller start"""

    def in_layer(self, config: ModelConfig, layer: int) -> bool:
        """Whether a model of `config`, which has it, has it in this layer."""
        return layer > 0 or config.norm.first or not self.path.startswith(f"{LAYER}attention_norm/")

    @property
    def decays(self) -> bool:
        """Whether weight decay acts on it: not on biases and norms (BERT's code)."""
        return self.kind != "vector"


@dataclasses.dataclass(frozen=True)
class ParameterTable:
    """The parameters that a tree may hold, found by the end of a leaf's path.

    The end, so that a tree of two encoders, a teacher's or an optimizer's state is covered by the same rows.
    """

    rows: tuple[Parameter, ...]

    def with_rows(self, *rows: Parameter) -> ParameterTable:
        """The table with the parameters of a new head or task."""
        return ParameterTable((*self.rows, *rows))

    def find(self, path: str) -> Parameter | None:
        """The row that is the longest end of `path`; None: no row is."""
        parts = path.split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next(
            (row for end in ends if (row := self._by_path.get(_LAYER_NUMBER.sub("layer_{i}", end)))), None
        )

    def row(self, path: str, shape: tuple[int, ...]) -> Parameter:
        """The row of the leaf at `path`.

        Raises:
          ValueError: no row covers it, or the row has another number of axes.
        """
        found = self.find(path)
        if found is None:
            raise ValueError(f"parameter {path} of shape {shape} is in no row of the table of parameters")
        if len(found.axes) != len(shape):
            raise ValueError(
                f"parameter {path} of shape {shape} must have the axes {found.axes!r} of {found.path}"
            )
        return found

    def map(self, function: Callable[[Parameter], Any], params: Any) -> Any:
        """A tree like `params` with `function` of each leaf's row.

        Raises:
          ValueError: a leaf that no row covers.
        """
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: function(self.row(path_name(path), leaf.shape)), params
        )

    @functools.cached_property
    def _by_path(self) -> dict[str, Parameter]:
        return {row.path: row for row in self.rows}


_LAYER_NUMBER = re.compile(r"layer_\d+")


def path_name(path: tuple[Any, ...]) -> str:
    """A jax key path as "bert/encoder/layer_0/mlp_in/kernel"."""
    return "/".join(
        str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path
    )


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested parameters as {path: leaf}."""
    return flatten_dict(tree, sep="/")


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{path: leaf} as nested parameters."""
    return unflatten_dict(flat, sep="/")


# ---------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------

Exists = Callable[[ModelConfig], bool]


def _dense(
    path: str,
    ins: str,
    outs: str,
    exists: Exists = _always,
    *,
    bias: Exists = _always,
    adds_to_residual: bool = False,
) -> Iterator[Parameter]:
    yield Parameter(
        path=f"{path}/kernel",
        axes=ins + outs,
        torch=f"{outs} {ins}",
        kind="matrix",
        exists=exists,
        adds_to_residual=adds_to_residual,
    )
    yield Parameter(
        path=f"{path}/bias", axes=outs, torch=outs, kind="vector", exists=lambda c: exists(c) and bias(c)
    )


def _norm(path: str, axis: str, exists: Exists = _always) -> Iterator[Parameter]:
    """Of `model.norm`."""
    yield Parameter(path=f"{path}/scale", axes=axis, torch=axis, kind="vector", exists=exists)
    yield Parameter(
        path=f"{path}/bias",
        axes=axis,
        torch=axis,
        kind="vector",
        exists=lambda c: exists(c) and c.norm.has_bias,
    )


def _layer_norm(path: str, axis: str, exists: Exists) -> Iterator[Parameter]:
    """Always LayerNorm with a bias."""
    for leaf in ("scale", "bias"):
        yield Parameter(path=f"{path}/{leaf}", axes=axis, torch=axis, kind="vector", exists=exists)


def _table(path: str, axes: str, exists: Exists = _always) -> Parameter:
    return Parameter(path=path, axes=axes, torch=" ".join(axes), kind="table", exists=exists)


def _is_disentangled(config: ModelConfig) -> bool:
    return config.positions == "disentangled"


def _has_positions(config: ModelConfig) -> bool:
    return config.positions == "absolute" or (_is_disentangled(config) and config.relative.mask_decoder)


def _has_pooler(config: ModelConfig) -> bool:
    return config.pooler != "none"


def _has_convolution(config: ModelConfig) -> bool:
    return _is_disentangled(config) and config.relative.convolution > 0


def _projects(term: str) -> Exists:
    def exists(config: ModelConfig) -> bool:
        separate = config.relative.projections == "separate"
        return _is_disentangled(config) and separate and term in config.relative.terms

    return exists


def _biases(config: ModelConfig) -> bool:
    return config.biases


def _key_bias(config: ModelConfig) -> bool:
    return config.biases and config.relative.key_bias


def _is_gated(config: ModelConfig) -> bool:
    return config.mlp != "gelu"


def _is_plain(config: ModelConfig) -> bool:
    return not _is_gated(config)


def _transforms(config: ModelConfig) -> bool:
    return config.mlm_head.transform


TABLE = ParameterTable(
    (
        _table("bert/embeddings/token", "VE"),
        _table("bert/embeddings/position", "SE", _has_positions),
        _table("bert/embeddings/type", "YE", lambda c: c.type_vocab_size > 0),
        Parameter(
            path="bert/embeddings/position_scale",
            axes="1",
            kind="vector",
            exists=lambda c: c.positions == "sinusoidal",
        ),
        *_norm("bert/embeddings/norm", "E", lambda c: c.norm.embeddings),
        *_dense("bert/embeddings/projection", "E", "D", lambda c: c.embedding_size > 0),
        *_dense(f"{LAYER}attention/query", "D", "HK", bias=_biases),
        *_dense(f"{LAYER}attention/key", "D", "HK", bias=_key_bias),
        *_dense(f"{LAYER}attention/value", "D", "HK", bias=_biases),
        *_dense(f"{LAYER}attention/position_key", "D", "HK", _projects("c2p"), bias=_key_bias),
        *_dense(f"{LAYER}attention/position_query", "D", "HK", _projects("p2c"), bias=_biases),
        *_dense(f"{LAYER}attention/output", "HK", "D", bias=_biases, adds_to_residual=True),
        *_norm(f"{LAYER}attention_norm", "D"),
        *_dense(f"{LAYER}mlp_in", "D", "F", _is_plain, bias=_biases),
        *_dense(f"{LAYER}mlp_gated_in", "D", "2F", _is_gated, bias=_never),
        *_dense(f"{LAYER}mlp_out", "F", "D", bias=_biases, adds_to_residual=True),
        *_norm(f"{LAYER}mlp_norm", "D"),
        *_norm("bert/encoder/norm", "D", lambda c: c.norm.place == "before"),
        _table("bert/encoder/relative/table", "RD", _is_disentangled),
        *_layer_norm("bert/encoder/relative/norm", "D", lambda c: _is_disentangled(c) and c.relative.norm),
        Parameter(
            path="bert/encoder/convolution/kernel",
            axes="WDd",
            torch="d D W",
            kind="matrix",
            exists=_has_convolution,
        ),
        Parameter(
            path="bert/encoder/convolution/bias", axes="d", torch="d", kind="vector", exists=_has_convolution
        ),
        *_layer_norm("bert/encoder/convolution/norm", "D", _has_convolution),
        *_dense("bert/pooler/dense", "D", "d", _has_pooler),
        *_dense("mlm_head/dense", "D", "E", _transforms, bias=_biases, adds_to_residual=True),
        *_norm("mlm_head/layer_norm", "E", _transforms),
        Parameter(
            path="mlm_head/decoder",
            axes="VE",
            torch="V E",
            kind="table",
            exists=lambda c: not c.mlm_head.tied,
            adds_to_residual=True,
        ),
        Parameter(path="mlm_head/bias", axes="V", torch="V", kind="vector"),
        *_dense("pair_head/dense", "D", "2", _has_pooler),
        *_dense("rtd_head/dense", "D", "d"),
        *_dense("rtd_head/output", "D", "1"),
        *_dense(
            "task_head/dense",
            "D",
            "d",
            lambda c: c.head.has_dense,
            bias=lambda c: c.biases or c.head.hidden != "transform",
        ),
        *_norm("task_head/norm", "D", lambda c: c.head.has_dense and c.head.hidden == "transform"),
        *_dense("task_head/output", "D", "C", lambda c: c.head.outputs > 0),
    )
)
"""Every parameter that a model of this package may have."""


def sizes(config: ModelConfig) -> dict[str, int]:
    """Letter -> length."""
    return {
        "V": config.vocab_size, "E": config.embedding_width, "D": config.hidden_size, "d": config.hidden_size,
        "H": config.num_heads, "K": config.head_dim, "F": config.mlp_size, "S": config.position_rows,
        "Y": config.type_vocab_size, "R": config.relative.rows, "W": config.relative.convolution,
        "C": config.head.outputs, "1": 1, "2": 2,
    }  # fmt: skip


def part(path: str) -> Literal["attention", "ffn"]:
    """Which part of a layer a path that starts with `LAYER` belongs to: what `config.owner` is asked about."""
    return "attention" if path.startswith(f"{LAYER}attention") else "ffn"


def head(path: str) -> str | None:
    """The one of `HEADS` a path belongs to; None for the encoder."""
    return next((name for name in HEADS if path.startswith(f"{name}/")), None)
