"""The formats of an export: what is written, and what opens it."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from bert_jax.config import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop.exported import INPUTS
from bert_jax.interop.load import LoadReport
from bert_jax.interop.native import left_parts, save_native
from bert_jax.interop.save import save_hf
from bert_jax.interop.savedmodel import save_savedmodel
from bert_jax.interop.stablehlo import DESCRIPTION_FILE, save_stablehlo
from bert_jax.text.tokenizer import Tokenizer

Format = Literal["hf", "safetensors", "stablehlo", "savedmodel"]
FORMATS: tuple[Format, ...] = typing.get_args(Format)

Params = Mapping[str, Any]


def export(
    form: Format,
    out: Path,
    params: Params,
    *,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    report: LoadReport | None = None,
) -> str:
    """Writes the folder `out`, whole or not at all; returns what opens it and what is not in it, in words.

    report: of reading the model, which names what is no part of it here, such as another class's head.

    Raises:
      UserError: `out` is not free, or the model does not fit the format.
    """
    lines = [_WRITERS[form](out, params, config, tokenizer)]
    if form != "hf" and (left := left_parts(params, config)):
        lines.append(f"left out, for the model does not compute it: {', '.join(left)}")
    if report and report.unexpected:
        lines.append(f"left out, for it was not read: {', '.join(report.unexpected)}")
    return "\n".join([*lines, *(report.notes if report else ())])


def _hf(out: Path, params: Params, config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    if tokenizer is None:
        raise UserError(
            "--format hf needs the model's tokenizer (tokenizer.json, vocab.txt, ...), which its directory"
            " lacks: copy it there"
        )
    report = save_hf(out, params, config=config, tokenizer=tokenizer)
    asked = ", add_pooling_layer=False" if report.poolerless else ""
    lines = [f"transformers.{report.architecture}.from_pretrained({str(out)!r}{asked}) opens it"]
    if config.head.kind == "embedding":
        lines.insert(
            0, f"sentence_transformers.SentenceTransformer({str(out)!r}) opens it, and its encoder alone"
        )
    if report.left:
        lines.append(f"left out, for that class has no place for it: {', '.join(report.left)}")
    if report.ignored:
        lines.append(f"in the file, but transformers passes over it: {', '.join(report.ignored)}")
    return "\n".join(lines)


def _safetensors(out: Path, params: Params, config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    save_native(out, params, config=config, tokenizer=tokenizer)
    return f"bert_jax.load({str(out)!r}) opens it"


def _stablehlo(out: Path, params: Params, config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    save_stablehlo(out, params, config=config, tokenizer=tokenizer)
    return (
        f"bert_jax.interop.stablehlo.load({str(out)!r}) opens the program; {DESCRIPTION_FILE} says how jax alone"
        " does, and names inputs and outputs"
    )


def _savedmodel(out: Path, params: Params, config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    save_savedmodel(out, params, config=config, tokenizer=tokenizer)
    return (
        f"tf.saved_model.load({str(out)!r}).signatures['serving_default']({'=, '.join(INPUTS)}=) runs it;"
        " TensorFlow Serving takes it as MODEL/1"
    )


_WRITERS: dict[Format, Callable[[Path, Params, ModelConfig, Tokenizer | None], str]] = {
    "hf": _hf,
    "safetensors": _safetensors,
    "stablehlo": _stablehlo,
    "savedmodel": _savedmodel,
}
