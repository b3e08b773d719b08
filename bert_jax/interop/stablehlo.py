"""A model as a StableHLO program beside its weights: it runs on jax alone, without this package.

model.stablehlo     `jax.export`'s serialised program: (params, tokens, type_ids, mask) -> {output: array};
                    batch and length are symbolic, and it is lowered for cpu, cuda and tpu
program.json        its inputs and outputs with their axes and types, the classes of its task head, and how to run it
bert_jax.json, model.safetensors, tokenizer.json ...        as `ours` writes them
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jax.extend import mlir
from jax.extend.mlir import ir, passmanager
from safetensors import SafetensorError

from bert_jax import array_file, json_file
from bert_jax.atomic import export_folder
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop import exported as program
from bert_jax.interop import native
from bert_jax.models import inference
from bert_jax.models.parameters import nest
from bert_jax.text import files
from bert_jax.text.tokenizer import Tokenizer

PROGRAM_FILE, DESCRIPTION_FILE = "model.stablehlo", "program.json"
_FORMAT = 1
_HARMLESS = {"shape_assertion"}
"""Custom calls that jax resolves itself before anything is compiled."""
# Of October 2024, for readers older than this jax, such as TensorFlow 2.21 (StableHLO 1.13.7); newer ones read
# old versions for five years.
_STABLEHLO = "1.8.0"
_USE = (
    "program = jax.export.deserialize(open('model.stablehlo', 'rb').read());"
    " program.call(params, tokens, type_ids, mask), where params are the tensors of model.safetensors as nested"
    " dictionaries, a level for each part of a name between slashes"
)


def save_stablehlo(
    folder: str | Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer | None
) -> None:
    """Compiles nothing: traces the model once and writes a folder, which appears whole or not at all.

    Raises:
      UserError: the folder is taken or cannot be written.
    """
    with export_folder(Path(folder), faults=(SafetensorError,)) as partial:
        native.write(partial, params, config=config, tokenizer=tokenizer)
        params = nest(native.read_tensors(partial / native.WEIGHTS_FILE))  # the tree a reader will build
        (partial / PROGRAM_FILE).write_bytes(exported(config, params).serialize())
        checksum = array_file.crc32(partial / PROGRAM_FILE)
        files.write_json(partial / DESCRIPTION_FILE, _describe(config, params) | {"crc32": checksum})


def exported(config: ModelConfig, params: Mapping[str, Any]) -> jax.export.Exported:
    """The program for `params` of these shapes, any batch of at least one row, and any length up to S."""
    batch, length = jax.export.symbolic_shape(
        "batch, length", constraints=(f"length <= {config.max_positions}",)
    )
    ids_BL = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    export = jax.export.export(jax.jit(program.portable(config)), platforms=program.PLATFORMS)
    found = export(shapes, ids_BL, ids_BL, ids_BL)
    with opened(found) as module:
        return dataclasses.replace(found, mlir_module_serialized=serialized(module))


@contextlib.contextmanager
def opened(exported: jax.export.Exported) -> Iterator[ir.Module]:
    """The program's MLIR, to be edited inside the block; without its debug information, which holds paths of
    this machine and is half of the bytes."""
    any_module: Any = jax.jit(lambda: 0).lower().compiler_ir("stablehlo")
    with any_module.context:  # where every dialect is loaded
        module = ir.Module.parse(exported.mlir_module())
        passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
        yield module


def serialized(module: ir.Module) -> bytes:
    return mlir.serialize_portable_artifact(module, _STABLEHLO)


def load(folder: str | Path) -> Callable[..., dict[str, jax.Array]]:
    """The function (tokens_BL, type_ids_BL=None, mask_BL=None) -> {output: array} of an exported folder.

    What a program of ours is made of computes and does nothing else; one that calls further is refused.

    Raises:
      UserError: no such folder, a file of it is missing or damaged, another format number, or such a program.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {DESCRIPTION_FILE} in it, so not an export of --format stablehlo")
    raw = json_file.read(path, advice="export it again")
    found, limit = raw.get("format"), raw.get("max_length")
    if found != _FORMAT:
        raise UserError(
            f"{path}: format={found!r} must be {_FORMAT}, the one that this version reads: open it with the"
            " bert_jax that wrote it"
        )
    if wrong := json_file.fault(raw, {"max_length": int}):
        raise UserError(f"{path}: {wrong}: export it again")
    compiled, shapes = _program(folder / PROGRAM_FILE, raw.get("crc32"))
    path = folder / native.WEIGHTS_FILE
    params = jax.tree.map(jnp.asarray, nest(native.read_tensors(path)))
    if jax.tree.map(jnp.shape, params) != shapes:
        raise UserError(
            f"{path}: its tensors are not those that {PROGRAM_FILE} takes: both must come from one export"
        )
    call = jax.jit(compiled.call)

    def run(tokens_BL: Any, type_ids_BL: Any = None, mask_BL: Any = None) -> dict[str, jax.Array]:
        tokens_BL = jnp.asarray(tokens_BL, jnp.int32)
        if tokens_BL.shape[1] > limit:
            raise UserError(f"{tokens_BL.shape[1]} tokens must be <= the program's max_length={limit}")
        type_ids_BL = jnp.zeros_like(tokens_BL) if type_ids_BL is None else type_ids_BL
        mask_BL = jnp.ones_like(tokens_BL) if mask_BL is None else mask_BL
        return call(params, tokens_BL, jnp.asarray(type_ids_BL, jnp.int32), jnp.asarray(mask_BL, jnp.int32))

    return run


def _program(path: Path, checksum: int | None) -> tuple[jax.export.Exported, Any]:
    """The program, and the shapes of the parameters that it takes. checksum: None in exports of older versions."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): export it again") from error
    if checksum is not None and zlib.crc32(content) != checksum:
        raise UserError(
            f"{path}: checksum {zlib.crc32(content)} must be {checksum}, as {DESCRIPTION_FILE} says: export it again"
        )
    try:
        compiled = jax.export.deserialize(bytearray(content))
        (shapes, *_), _ = jax.tree.unflatten(compiled.in_tree, [aval.shape for aval in compiled.in_avals])
        calls = _calls(compiled) - _HARMLESS
    except Exception as error:  # the flatbuffers library raises whatever the bytes lead to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a program ({reason}): export it again") from None
    if calls:
        raise UserError(
            f"{path}: calls {', '.join(sorted(calls))}, which is outside of the program and may run anything: no export"
            " of this package does, so it is not run"
        )
    return compiled, shapes


def _calls(exported: jax.export.Exported) -> set[str]:
    """What the program's custom calls call."""
    found = set()

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name.endswith("custom_call"):
            found.add(ir.StringAttr(op.attributes["call_target_name"]).value)
        return ir.WalkResult.ADVANCE

    with opened(exported) as module:
        module.operation.walk(collect)
    return found


def _describe(config: ModelConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    head = inference.fitted(config, params)[0].head
    return {
        "format": _FORMAT,
        "use": _USE,
        "max_length": config.max_positions,
        "axes": {
            "B": "rows, any number", "L": "positions, up to max_length", "D": config.hidden_size,
            "V": config.vocab_size, "2": 2, **({"C": head.outputs} if head.outputs else {}),
        },
        "inputs": {name: field._asdict() for name, field in program.INPUTS.items()},
        "outputs": {name: field._asdict() for name, field in program.outputs_of(config, params).items()},
        **({"head": dataclasses.asdict(head)} if head.kind != "none" else {}),
        "platforms": program.PLATFORMS,
        "computed_in": config.dtype,
        "jax": jax.__version__,
    }  # fmt: skip
