"""A model as a TensorFlow SavedModel, for TensorFlow Serving: the exported program, the weights as variables.

saved_model.pb, variables/, fingerprint.pb      one signature, "serving_default"
assets.extra/                                   what TensorFlow leaves alone: the tokenizer; of a model with a
                                                task head head.json, its kind and the names of its classes

`jax.experimental.jax2tf` would write the same op, but StableHLO as of this jax, which a TensorFlow of the same
day does not read yet (2.21 stops at jax 0.10's erf); and it imports far more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import func

from bert_jax.atomic import export_folder
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop import exported as program
from bert_jax.interop import stablehlo
from bert_jax.text import files
from bert_jax.text.tokenizer import Tokenizer


def save_savedmodel(
    folder: str | Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer | None
) -> None:
    """Writes a folder that `tf.saved_model.load` and TensorFlow Serving open without jax; whole or not at all.

    The signature takes `program.INPUTS` by name, int32 [batch, length] of any size up to `max_positions`,
    and gives the program's outputs by name.

    Raises:
      UserError: TensorFlow is not installed; the folder is taken or cannot be written.
    """
    try:
        import tensorflow as tf
    except ImportError:
        raise UserError(
            "--format savedmodel needs TensorFlow, which is not installed: pip install tensorflow-cpu"
        ) from None

    with export_folder(Path(folder), faults=(tf.errors.OpError,)) as partial:
        call = _op(stablehlo.exported(config, params))
        module = tf.Module()
        with tf.device("CPU"):  # the accelerators are JAX's
            module.leaves = [
                tf.Variable(np.asarray(leaf, np.float32), name=_path(path), trainable=False)
                for path, leaf in jax.tree.leaves_with_path(params)
            ]
        specs = [tf.TensorSpec([None, None], tf.int32, name=name) for name in program.INPUTS]

        @tf.function(input_signature=specs, autograph=False)
        def serve(*inputs: Any) -> dict[str, Any]:
            return call(*module.leaves, *inputs)

        tf.saved_model.save(module, str(partial), signatures={"serving_default": serve})
        extra = partial / "assets.extra"
        if tokenizer is not None or config.head.kind != "none":
            extra.mkdir()
        if tokenizer is not None:
            tokenizer.save(extra, max_length=config.max_positions)
        if config.head.kind != "none":
            files.write_json(extra / "head.json", dataclasses.asdict(config.head))


def _op(exported: jax.export.Exported) -> Callable[..., dict[str, Any]]:
    """The program as one TensorFlow op (XlaCallModule): (the flat inputs) -> {output: tensor}."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    serialized = _for_tensorflow(exported)

    def call(*inputs: Any) -> dict[str, Any]:
        outputs = xla.call_module(
            [inputs[i] for i in exported.module_kept_var_idx],
            version=exported.calling_convention_version,
            module=serialized,
            Tout=[tf.dtypes.as_dtype(aval.dtype) for aval in exported.out_avals],
            Sout=[
                [size if isinstance(size, int) else None for size in aval.shape]
                for aval in exported.out_avals
            ],
            platforms=[platform.upper() for platform in exported.platforms],
            use_shardy_partitioner=True,
        )
        return jax.tree.unflatten(exported.out_tree, list(outputs))

    return call


def _for_tensorflow(exported: jax.export.Exported) -> bytes:
    """The program with calls of what its composite ops (erf) are composed of.

    TensorFlow cannot refine the symbolic shapes inside a composite.
    """
    composites: list[ir.Operation] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name == "stablehlo.composite":
            composites.append(op)
        return ir.WalkResult.ADVANCE

    with stablehlo.opened(exported) as module, ir.Location.unknown():
        module.operation.walk(collect)
        for op in composites:
            with ir.InsertionPoint(op):
                types = [result.type for result in op.results]
                call = func.CallOp(
                    types, ir.FlatSymbolRefAttr(op.attributes["decomposition"]), list(op.operands)
                )
            for old, new in zip(op.results, call.results, strict=True):
                old.replace_all_uses_with(new)
            op.erase()
        return stablehlo.serialized(module)


def _path(path: tuple[Any, ...]) -> str:
    return "/".join(key.key for key in path)
