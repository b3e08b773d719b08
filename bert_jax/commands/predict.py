"""Uses a trained model on text: a workdir, an export of ours, a Hugging Face directory or model id, or a TF1
checkpoint.

fill-mask  prints the most probable tokens for each [MASK]; the vocabulary's own name of it, such as
           <mask>, is read too
embed      prints one JSON object a text: {"text": ..., "vector": [...]}
classify   prints one JSON object a text, in order: {"text": ..., "label": ..., "probabilities": {...}}; a tab separates a
           text from its partner, which is then "text_pair". The label of a multilabel model is a list, of a
           regression a number

Texts are the arguments, or the lines of --input, or the lines of standard input.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import refuse_overrides
from bert_jax.data.sources.blocks import UTF16_FAULT, UTF16_MARKS
from bert_jax.errors import UsageError, UserError

if TYPE_CHECKING:
    from bert_jax.api import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR_or_ID",
        help="workdir, model directory, or model id of the Hugging Face hub, such as google-bert/bert-base-uncased,"
        " which is downloaded into the hub's cache; ID@REVISION for a branch, tag or commit",
    )
    parser.add_argument("--task", required=True, choices=("fill-mask", "embed", "classify"))
    parser.add_argument("--checkpoint", default="last", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator; the"
        " generator fills masks)",
    )
    parser.add_argument("--top-k", type=int, default=3, help="fill-mask: candidates a mask (default 3)")
    parser.add_argument("--json", action="store_true", help="fill-mask: one JSON object a text")
    parser.add_argument("--input", type=Path, help="UTF-8 file with one text a line")
    parser.add_argument("text", nargs="*", help='for example "The [MASK] sat on the mat."')


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    if args.text and args.input:
        raise UsageError(f"give texts or --input {args.input}, not both")
    texts = args.text or _lines(args.input)
    if not texts:
        raise UsageError("no text: give it as an argument, with --input FILE, or on standard input")
    run(
        args.model,
        args.task,
        texts=texts,
        checkpoint=args.checkpoint,
        part=args.part,
        top_k=args.top_k,
        as_json=args.json,
    )


def run(
    model: str | Path,
    task: str,
    *,
    texts: Sequence[str],
    checkpoint: str = "last",
    part: str | None = None,
    top_k: int = 3,
    as_json: bool = False,
) -> None:
    """Prints the predictions for `texts`.

    Raises:
      UserError: no model there, or a text the task cannot take.
    """
    from bert_jax import api

    loaded = api.load(model, checkpoint=checkpoint, part=part)
    if task == "classify":
        return _print_classified(loaded, texts)
    for text in texts:
        if task == "embed":
            print(json.dumps({"text": text, "vector": loaded.embed([text])[0].tolist()}, ensure_ascii=False))
            continue
        masks = loaded.fill_mask(text, top_k=top_k)
        if as_json:
            found = [[{"token": p.token, "probability": p.probability} for p in mask] for mask in masks]
            print(json.dumps({"text": text, "masks": found}, ensure_ascii=False))
        else:
            print(text)
            for mask in masks:
                print("   " + "   ".join(f"{p.token} {100 * p.probability:.1f} %" for p in mask))


def _print_classified(model: Model, texts: Sequence[str]) -> None:
    """Singles and pairs may alternate: neighbours of one sort are classified together."""
    for is_pair, group in itertools.groupby(texts, key=lambda text: "\t" in text):
        rows = [text.split("\t", 1) for text in group]
        first = [row[0] for row in rows]
        second = [row[1] for row in rows] if is_pair else None
        for row, found in zip(rows, model.classify(first, second), strict=True):
            values = {"text": row[0], **({"text_pair": row[1]} if is_pair else {}), "label": found.label}
            print(json.dumps(values | {"probabilities": found.probabilities}, ensure_ascii=False))


def _lines(path: Path | None) -> list[str]:
    """The lines that are not blank, of a file or of standard input if something is piped in."""
    if path is None and sys.stdin.isatty():
        return []
    data = path.read_bytes() if path else sys.stdin.buffer.read()
    place = path or "standard input"
    if data.startswith(UTF16_MARKS):
        raise UserError(f"{place}: {UTF16_FAULT}")
    try:
        text = data.decode("utf-8-sig")  # without the byte-order mark that some editors write
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8: {error}") from None
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
