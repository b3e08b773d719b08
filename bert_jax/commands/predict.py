"""Uses a trained model on text: a workdir, an export of ours, a Hugging Face directory or model id, or a TF1
checkpoint. Prints one JSON object a text, in their order; fill-mask prints words unless --json is given.

fill-mask   the most probable tokens for each [MASK]; the vocabulary's own name of it, such as <mask>, is read too
embed       {"text", "vector"}
classify    {"text", "label", "probabilities"}, of a pair "text_pair" too. The label of a multilabel model is a list, of a
            regression a number
tag         {"text", "words": [{"text", "tag", "probability", "start", "end"}], "entities": [{"type", "text", "start",
            "end", "first_word", "last_word", "probability"}]}; start and end are characters of the text
answer      {"question", "answer", "start", "end", "score", "probability", "no_answer"}; start and end are characters of the
            context, null where the answer is "". Text is a question, text_pair its context
similarity  {"text", "text_pair", "similarity"}, the cosine of their vectors

Texts are the arguments, or the lines of --input, or the lines of standard input; a tab separates a text from its
partner. An --input that ends in .tsv, .csv, .jsonl, .json or .parquet (also .gz) is a table, whose columns are found by
their usual names or named by --text and --text-pair; SQuAD's JSON holds questions, .conll and .conllu files sentences in
words. Files of any size are read as they are needed. Long texts of tag and answer are read in windows, others are cut.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bert_jax.commands import refuse_overrides
from bert_jax.data.labelled.columns import Columns
from bert_jax.data.sources.texts import texts_of
from bert_jax.errors import UsageError
from bert_jax.prediction import inputs
from bert_jax.prediction.inputs import OF_PAIRS, Row, Task
from bert_jax.progress import bar

if TYPE_CHECKING:
    from bert_jax.config.head import Pooling
    from bert_jax.prediction.answer import AnswerOptions

_log = logging.getLogger(__name__)

_OF_TASKS: dict[str, tuple[Task, ...]] = {
    "top_k": ("fill-mask",),
    "json": ("fill-mask",),
    "pooling": ("embed", "similarity"),
    "null_threshold": ("answer",),
    "n_best": ("answer",),
    "text_pair": OF_PAIRS,
}
"""Flags that some tasks alone have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR_or_ID",
        help="workdir, model directory, or model id of the Hugging Face hub, such as google-bert/bert-base-uncased,"
        " which is downloaded into the hub's cache; ID@REVISION for a branch, tag or commit",
    )
    parser.add_argument("--task", required=True, choices=get_args(Task))
    parser.add_argument("--checkpoint", default="last", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator; the"
        " generator fills masks)",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="UTF-8 text, one a line, or a table")
    parser.add_argument(
        "--text", metavar="COLUMN", help="of a table: the column of the text, by name or number"
    )
    parser.add_argument("--text-pair", metavar="COLUMN", help="of a table: the column of the second text")
    parser.add_argument("--top-k", type=int, metavar="K", help="fill-mask: candidates a mask (default 3)")
    parser.add_argument("--json", action="store_true", default=None, help="fill-mask: one JSON object a text")
    parser.add_argument(
        "--pooling",
        choices=("mean", "cls"),
        help="embed, similarity: a text's vector is the mean of its tokens' states, or the state of [CLS] (default: as"
        " the model's embedding head or directory of sentence-transformers has it, else mean)",
    )
    parser.add_argument(
        "--null-threshold",
        type=float,
        metavar="T",
        help='answer: "" where no_answer, the score of no answer less the best span\'s, is above T; inf: never. Default:'
        " as the run of --model tuned it on its evaluation set, else never",
    )
    parser.add_argument("--n-best", type=int, metavar="N", help="answer: print the N best spans, too")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help='for example "The [MASK] sat on the mat."')


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    run(
        args.model,
        args.task,
        rows=_rows(args),
        checkpoint=args.checkpoint,
        part=args.part,
        top_k=3 if args.top_k is None else args.top_k,
        as_json=bool(args.json),
        pooling=args.pooling,
        null_threshold=args.null_threshold,
        n_best=args.n_best or 0,
    )


def _rows(args: argparse.Namespace) -> Iterable[Row]:
    """What is to be predicted, of which there is something.

    Raises:
      UsageError: there is nothing, or a flag has no effect.
    """
    for name, tasks in _OF_TASKS.items():
        if getattr(args, name) is not None and args.task not in tasks:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} must go with --task {' or '.join(tasks)}, not with --task {args.task}")
    if args.n_best is not None and args.n_best < 1:
        raise UsageError(f"--n-best {args.n_best} must be >= 1")
    if args.texts and args.input:
        raise UsageError(f"give texts or --input {args.input}, not both")
    if args.input and inputs.is_table(args.input):
        columns = Columns(text=args.text or "", text_pair=args.text_pair or "")
        rows = inputs.rows_of_file(args.input, args.task, columns)
    elif args.text or args.text_pair:
        raise UsageError("--text and --text-pair name columns: they must go with an --input that is a table")
    else:
        rows = inputs.rows_of_lines(args.texts or texts_of(args.input), args.task)
    first = next(rows, None)
    if first is None:
        raise UsageError("no text: give it as an argument, with --input FILE, or on standard input")
    return itertools.chain([first], rows)


def run(
    model: str | Path,
    task: Task,
    *,
    rows: Iterable[Row],
    checkpoint: str = "last",
    part: str | None = None,
    top_k: int = 3,
    as_json: bool = False,
    pooling: Pooling | None = None,
    null_threshold: float | None = None,
    n_best: int = 0,
) -> None:
    """Prints the predictions for `rows`, in their order, a few at a time.

    Args:
      null_threshold: of answers; None: the one that the run tuned, if it did.
      n_best: of answers, spans that are printed besides.

    Raises:
      UserError: no model there, or a text the task cannot take.
    """
    from bert_jax import api
    from bert_jax.prediction.rows import Options, predictions

    loaded = api.load(model, checkpoint=checkpoint, part=part)
    if loaded.report:
        for note in loaded.report.notes:
            _log.info("%s: %s", model, note)
    options = Options(top_k=top_k, pooling=pooling, n_best=n_best)
    if task == "answer":
        options = options._replace(answer=_answer_options(Path(model), checkpoint, null_threshold))
    shown = bar(rows, description=task, unit=" texts", delay=2.0)
    for found in predictions(loaded, task, shown, options):
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
