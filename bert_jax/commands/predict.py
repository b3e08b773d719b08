"""Uses a trained model on text: a workdir, an export of ours, a Hugging Face directory or model id, or a TF1
checkpoint.

fill-mask  prints the most probable tokens for each [MASK]; the vocabulary's own name of it, such as
           <mask>, is read too
embed      prints one JSON object a text: {"text": ..., "vector": [...]}
classify   prints one JSON object a text, in order: {"text": ..., "label": ..., "probabilities": {...}}; a tab separates a
           text from its partner, which is then "text_pair". The label of a multilabel model is a list, of a
           regression a number
tag        prints one JSON object a text, in order: {"text": ..., "words": [{"text", "tag", "probability", "start", "end"}],
           "entities": [{"type", "text", "start", "end", "first_word", "last_word", "probability"}]}, start and end being
           characters of the text. Long texts are read in windows
similarity prints one JSON object a line of two texts with a tab between: {"text": ..., "text_pair": ...,
           "similarity": ...}, the cosine of their vectors

Texts are the arguments, or the lines of --input, or the lines of standard input.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import refuse_overrides
from bert_jax.data.sources.texts import texts_of
from bert_jax.errors import UsageError
from bert_jax.progress import bar

if TYPE_CHECKING:
    from bert_jax.config.head import Pooling
    from bert_jax.prediction.rows import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR_or_ID",
        help="workdir, model directory, or model id of the Hugging Face hub, such as google-bert/bert-base-uncased,"
        " which is downloaded into the hub's cache; ID@REVISION for a branch, tag or commit",
    )
    parser.add_argument(
        "--task", required=True, choices=("fill-mask", "embed", "classify", "tag", "similarity")
    )
    parser.add_argument("--checkpoint", default="last", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator; the"
        " generator fills masks)",
    )
    parser.add_argument("--top-k", type=int, default=3, help="fill-mask: candidates a mask (default 3)")
    parser.add_argument(
        "--pooling",
        choices=("mean", "cls"),
        help="embed, similarity: a text's vector is the mean of its tokens' states, or the state of [CLS] (default: as"
        " the model's embedding head or directory of sentence-transformers has it, else mean)",
    )
    parser.add_argument("--json", action="store_true", help="fill-mask: one JSON object a text")
    parser.add_argument("--input", type=Path, help="UTF-8 file with one text a line")
    parser.add_argument("text", nargs="*", help='for example "The [MASK] sat on the mat."')


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    if args.text and args.input:
        raise UsageError(f"give texts or --input {args.input}, not both")
    if args.pooling and args.task not in ("embed", "similarity"):
        raise UsageError(f"--pooling {args.pooling} does nothing for --task {args.task}: leave it out")
    texts = iter(args.text or texts_of(args.input))
    first = next(texts, None)
    if first is None:
        raise UsageError("no text: give it as an argument, with --input FILE, or on standard input")
    run(
        args.model,
        args.task,
        texts=itertools.chain([first], texts),
        checkpoint=args.checkpoint,
        part=args.part,
        top_k=args.top_k,
        pooling=args.pooling,
        as_json=args.json,
    )


def run(
    model: str | Path,
    task: Task,
    *,
    texts: Iterable[str],
    checkpoint: str = "last",
    part: str | None = None,
    top_k: int = 3,
    pooling: Pooling | None = None,
    as_json: bool = False,
) -> None:
    """Prints the predictions for `texts`, in their order, a few at a time.

    Raises:
      UserError: no model there, or a text the task cannot take.
    """
    from bert_jax import api
    from bert_jax.prediction.rows import Options, Row, predictions

    loaded = api.load(model, checkpoint=checkpoint, part=part)
    shown = bar(texts, description=task, unit=" texts", delay=2.0)
    paired = task in ("classify", "similarity")
    rows = (Row(*text.split("\t", 1)) if paired else Row(text) for text in shown)
    for found in predictions(loaded, task, rows, Options(top_k=top_k, pooling=pooling)):
        if task == "fill-mask" and not as_json:
            print(found["text"])
            for mask in found["masks"]:
                print("   " + "   ".join(f"{p['token']} {100 * p['probability']:.1f} %" for p in mask))
        else:
            print(json.dumps(found, ensure_ascii=False))
