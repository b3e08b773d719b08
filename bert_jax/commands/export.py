"""Writes a model as a directory that others open.

hf           config.json, model.safetensors and the tokenizer: transformers opens it with from_pretrained of
             the printed class, or of any Auto class that fits its heads
safetensors  this package's own: every parameter under its own name, nothing left or renamed
stablehlo    a compiled program (jax.export) for any batch and length on cpu, cuda and tpu, beside its
             weights: needs jax, and nothing of this package
savedmodel   the same program for TensorFlow and TensorFlow Serving: needs no jax

All but savedmodel are opened by bert_jax.load. The model is the checkpoint of a run, or any directory that
bert_jax.load reads, which this so converts: a Hugging Face directory, a TF1 checkpoint, an export of ours.
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bert_jax.commands import refuse_overrides
from bert_jax.errors import UsageError, UserError

if TYPE_CHECKING:
    from bert_jax.config import ModelConfig
    from bert_jax.text.tokenizer import Tokenizer

Format = Literal["hf", "safetensors", "stablehlo", "savedmodel"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", type=Path, help="folder of a pretraining run")
    source.add_argument("--model", type=Path, help="any model directory")
    parser.add_argument("--format", required=True, choices=typing.get_args(Format))
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--checkpoint", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator)",
    )


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    if args.model and args.checkpoint:
        raise UsageError(f"--checkpoint {args.checkpoint} is of a workdir: give --workdir, not --model")
    if args.workdir:
        from bert_jax.training.workdir import is_workdir

        if not is_workdir(args.workdir):
            raise UserError(f"--workdir {args.workdir} is not the folder of a run; another model is --model")
    source = args.workdir or args.model
    run(source, args.out, form=args.format, checkpoint=args.checkpoint or "last", part=args.part)


def run(
    source: Path,
    out: Path,
    *,
    form: Format = "hf",
    checkpoint: str = "last",
    part: str | None = None,
) -> None:
    """Exports and prints where to, and what opens it.

    Raises:
      UserError: no such model, checkpoint or part; `out` is not free; the model does not fit the format.
    """
    from bert_jax.tasks.load import load_model

    config, params, tokenizer, _ = load_model(source, checkpoint=checkpoint, part=part)
    print(f"wrote {out}: {_WRITERS[form](out, params, config, tokenizer)}")


def _hf(out: Path, params: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    from bert_jax.interop.save import save_hf

    if tokenizer is None:
        raise UserError(
            "--format hf needs the model's tokenizer (tokenizer.json, vocab.txt, ...), which its directory"
            " lacks: copy it there"
        )
    report = save_hf(out, params, config=config, tokenizer=tokenizer)
    asked = ", add_pooling_layer=False" if report.poolerless else ""
    lines = [f"transformers.{report.architecture}.from_pretrained({str(out)!r}{asked}) opens it"]
    if report.left:
        lines.append(f"left out, for that class has no place for it: {', '.join(report.left)}")
    if report.ignored:
        lines.append(f"in the file, but transformers passes over it: {', '.join(report.ignored)}")
    return "\n".join(lines)


def _safetensors(
    out: Path, params: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer | None
) -> str:
    from bert_jax.interop.native import save_ours

    save_ours(out, params, config=config, tokenizer=tokenizer)
    return f"bert_jax.load({str(out)!r}) opens it"


def _stablehlo(out: Path, params: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    from bert_jax.interop.stablehlo import DESCRIPTION_FILE, save_stablehlo

    save_stablehlo(out, params, config=config, tokenizer=tokenizer)
    return (
        f"bert_jax.interop.stablehlo.load({str(out)!r}) opens the program; {DESCRIPTION_FILE} says how jax alone"
        " does, and names inputs and outputs"
    )


def _savedmodel(
    out: Path, params: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer | None
) -> str:
    from bert_jax.interop.exported import INPUTS
    from bert_jax.interop.savedmodel import save_savedmodel

    save_savedmodel(out, params, config=config, tokenizer=tokenizer)
    return (
        f"tf.saved_model.load({str(out)!r}).signatures['serving_default']({'=, '.join(INPUTS)}=) runs it;"
        " TensorFlow Serving takes it as MODEL/1"
    )


_WRITERS = {"hf": _hf, "safetensors": _safetensors, "stablehlo": _stablehlo, "savedmodel": _savedmodel}
