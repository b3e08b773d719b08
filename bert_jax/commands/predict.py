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
answer     prints one JSON object a question, in order; a line is a question, a tab and its context: {"question": ...,
           "answer": ..., "start": ..., "end": ..., "score": ..., "probability": ..., "no_answer": ...}, start and end
           being characters of the context. --null-threshold T: the answer is "" (start and end null) where no_answer
           is above T; a run that tuned a threshold on its evaluation set uses that one. --n-best N adds the best spans

Texts are the arguments, or the lines of --input, or the lines of standard input.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import refuse_overrides
from bert_jax.data.sources.texts import texts_of
from bert_jax.errors import UsageError
from bert_jax.progress import bar

if TYPE_CHECKING:
    from bert_jax.prediction.answer import AnswerOptions
    from bert_jax.prediction.rows import Task

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR_or_ID",
        help="workdir, model directory, or model id of the Hugging Face hub, such as google-bert/bert-base-uncased,"
        " which is downloaded into the hub's cache; ID@REVISION for a branch, tag or commit",
    )
    parser.add_argument("--task", required=True, choices=("fill-mask", "embed", "classify", "tag", "answer"))
    parser.add_argument("--checkpoint", default="last", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator; the"
        " generator fills masks)",
    )
    parser.add_argument("--top-k", type=int, default=3, help="fill-mask: candidates a mask (default 3)")
    parser.add_argument(
        "--null-threshold",
        type=float,
        metavar="T",
        help='answer: "" where the score of no answer is above the best span\'s by more than T; inf: never. Default: as'
        " the run of --model tuned it on its evaluation set, else never",
    )
    parser.add_argument("--n-best", type=int, metavar="N", help="answer: print the N best spans, too")
    parser.add_argument("--json", action="store_true", help="fill-mask: one JSON object a text")
    parser.add_argument("--input", type=Path, help="UTF-8 file with one text a line")
    parser.add_argument("text", nargs="*", help='for example "The [MASK] sat on the mat."')


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    if args.text and args.input:
        raise UsageError(f"give texts or --input {args.input}, not both")
    for flag, value in (("--null-threshold", args.null_threshold), ("--n-best", args.n_best)):
        if value is not None and args.task != "answer":
            raise UsageError(f"{flag} must go with --task answer, not --task {args.task}")
    if args.n_best is not None and args.n_best < 1:
        raise UsageError(f"--n-best {args.n_best} must be >= 1")
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
        as_json=args.json,
        null_threshold=args.null_threshold,
        n_best=args.n_best or 0,
    )


def run(
    model: str | Path,
    task: Task,
    *,
    texts: Iterable[str],
    checkpoint: str = "last",
    part: str | None = None,
    top_k: int = 3,
    as_json: bool = False,
    null_threshold: float | None = None,
    n_best: int = 0,
) -> None:
    """Prints the predictions for `texts`, in their order, a few at a time.

    Args:
      null_threshold: of answers; None: the one that the run tuned, if it did.
      n_best: of answers, spans that are printed besides.

    Raises:
      UserError: no model there, or a text the task cannot take.
    """
    from bert_jax import api
    from bert_jax.prediction.rows import Options, Row, predictions

    loaded = api.load(model, checkpoint=checkpoint, part=part)
    shown = bar(texts, description=task, unit=" texts", delay=2.0)
    rows = (Row(*text.split("\t", 1)) if task in ("classify", "answer") else Row(text) for text in shown)
    options = Options(top_k=top_k, n_best=n_best)
    if task == "answer":
        options = options._replace(answer=_answer_options(Path(model), checkpoint, null_threshold))
    for found in predictions(loaded, task, rows, options):
        if task == "fill-mask" and not as_json:
            print(found["text"])
            for mask in found["masks"]:
                print("   " + "   ".join(f"{p['token']} {100 * p['probability']:.1f} %" for p in mask))
        else:
            print(json.dumps(found, ensure_ascii=False))


def _answer_options(model: Path, checkpoint: str, null_threshold: float | None) -> AnswerOptions:
    """Those of the run that the model is from, if it is from one."""
    from bert_jax.prediction.answer import AnswerOptions
    from bert_jax.tasks.answering import task_config, tuned_threshold

    task = task_config(model)
    if task is None:
        return AnswerOptions(null_threshold)
    if null_threshold is None:
        null_threshold = tuned_threshold(model, checkpoint)
        if null_threshold is not None:
            _log.info(
                '--null-threshold %.4f, as the run tuned it: the answer is "" where no_answer is above it',
                null_threshold,
            )
    return AnswerOptions(
        null_threshold, task.max_length, task.stride, task.max_question, task.max_answer, task.n_best
    )
