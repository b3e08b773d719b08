"""Writes a checkpoint of a workdir as a model directory that others load.

hf  config.json, model.safetensors and the tokenizer: transformers opens it with
    BertForPreTraining.from_pretrained (or any Auto class), and so does bert_jax.load
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bert_jax.commands import refuse_overrides
from bert_jax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a pretraining run")
    parser.add_argument("--format", required=True, choices=("hf",))
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, or a step")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the workdir's")
    run(args.workdir, args.out, checkpoint=args.checkpoint)


def run(workdir: Path, out: Path, *, checkpoint: str = "last") -> None:
    """Exports and prints where to.

    Raises:
      UserError: no such checkpoint, or `out` is not free.
    """
    from bert_jax import api
    from bert_jax.interop.save import save_hf
    from bert_jax.text import tokenizer
    from bert_jax.training.workdir import is_workdir

    if not is_workdir(workdir):
        raise UserError(f"--workdir {workdir} is not the folder of a run")
    config, params = api.load_workdir(workdir, checkpoint=checkpoint)
    save_hf(out, params, config=config, tokenizer=tokenizer.load(workdir / "tokenizer.json"))
    print(f"wrote {out}: transformers.BertForPreTraining.from_pretrained({str(out)!r}) opens it")
