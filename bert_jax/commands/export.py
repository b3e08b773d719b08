"""Writes a model as a directory that others open.

hf           config.json, model.safetensors and the tokenizer: transformers opens it with from_pretrained of
             the printed class, or of any Auto class that fits its heads
safetensors  this package's own: every parameter under its own name, nothing left or renamed
stablehlo    a compiled program (jax.export) for any batch and length on cpu, cuda and tpu, beside its
             weights: needs jax, and nothing of this package
savedmodel   the same program for TensorFlow and TensorFlow Serving: needs no jax

All but savedmodel are opened by bert_jax.load. The model is the checkpoint of a run, or any directory that
bert_jax.load reads, which this so converts: a Hugging Face directory or model id, a TF1 checkpoint, an export of ours.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax.commands import refuse_overrides
from bert_jax.errors import UsageError, UserError

if TYPE_CHECKING:
    from bert_jax.interop.formats import Format

_log = logging.getLogger(__name__)
_FORMATS = ("hf", "safetensors", "stablehlo", "savedmodel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", type=Path, help="folder of a pretraining run")
    source.add_argument(
        "--model",
        metavar="DIR_or_ID",
        help="any model directory, or model id of the Hugging Face hub (org/name)",
    )
    parser.add_argument("--format", required=True, choices=_FORMATS)
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--checkpoint", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator)",
    )
    parser.add_argument(
        "--layers",
        type=_numbers,
        default=(),
        metavar="N,N",
        help="a smaller model of these layers, counted from 0, with embeddings and heads, to begin a student with:"
        " 0,2,4,7,9,11",
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
    run(
        source,
        args.out,
        form=args.format,
        checkpoint=args.checkpoint or "last",
        part=args.part,
        layers=args.layers,
    )


def run(
    source: str | Path,
    out: Path,
    *,
    form: Format = "hf",
    checkpoint: str = "last",
    part: str | None = None,
    layers: tuple[int, ...] = (),
) -> None:
    """Exports and prints where to, and what opens it.

    Raises:
      UserError: no such model, checkpoint, part or layer; `out` is not free; the model does not fit the format.
    """
    from bert_jax.interop.formats import export
    from bert_jax.tasks.load import load_model
    from bert_jax.tasks.student import with_layers

    model = load_model(source, checkpoint=checkpoint, part=part)
    config, params, tokenizer, report = with_layers(model, layers, option="--layers") if layers else model
    _warn_of_untrained(Path(source), params)
    opened_by = export(form, out, params, config=config, tokenizer=tokenizer, report=report)
    print(f"wrote {out}: {opened_by}")


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--layers {text} must be whole numbers with commas between: 0,2,4")
    return tuple(map(int, parts))


def _warn_of_untrained(source: Path, params: Mapping[str, Any]) -> None:
    """A run without a sentence objective leaves its pair head, and the pooler below it, as they were drawn."""
    from bert_jax.config import PretrainConfig
    from bert_jax.training import workdir

    if not workdir.is_workdir(source) or "pair_head" not in params:
        return
    saved = workdir.read(source, PretrainConfig)
    if saved.config.data.sentence_objective == "none" and not saved.init:
        _log.warning(
            "%s: the pooler and the pair head in the export are untrained: the run has"
            " config.data.sentence_objective=none",
            source,
        )
