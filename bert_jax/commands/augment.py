"""Makes a larger training set: each row, then copies of it in which a masked language model has replaced some words
(data augmentation of TinyBERT, Jiao et al. 2020, section 3.2).

  bert-jax augment --model google-bert/bert-base-uncased --input train.tsv --output train_aug.tsv --copies 20

A word of letters that is no English stop word can be replaced. For a word of one token the model's MLM head proposes
words, reading the masked text beside the original (where it knows two segments and both have room); for a word of
several tokens they are the nearest in the model's token table. Everything else of a text stays as it is. Of a pair each
text is augmented while the other stays, so that a row has up to twice as many copies. Copies equal to the original or
to another copy are left out; a text without such words has none.

Files are TSV, CSV or JSON Lines (.tsv, .csv, .jsonl, also .gz), as `bert-jax finetune` reads them; the output has the
format and all columns of the input. The same seed gives the same copies. Augment the training set alone.

TinyBERT's released code: --copies 30 for CoLA, MRPC, RTE and STS-B, 20 for QNLI and SST-2, 10 for MNLI and QQP.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bert_jax.commands import refuse_overrides
from bert_jax.data.labelled.columns import Columns
from bert_jax.prediction.augment import AugmentOptions, augment_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR_or_ID",
        help="pretrained model with its MLM head: workdir, model directory, or model id of the Hugging Face hub",
    )
    parser.add_argument("--checkpoint", default="last", help="of a workdir: last (default), best, or a step")
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: the generator is the one with an MLM head",
    )
    parser.add_argument("--input", required=True, metavar="FILE", help="labelled texts or pairs")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a file with the ending of --input"
    )
    parser.add_argument(
        "--text",
        default="",
        metavar="COLUMN",
        help="the column of the text, by name or number (default: its usual name)",
    )
    parser.add_argument("--text-pair", default="", metavar="COLUMN", help="the column of the second text")
    parser.add_argument("--copies", type=int, default=30, metavar="N", help="of a text, at most (default 30)")
    parser.add_argument(
        "--candidates", type=int, default=15, metavar="M", help="words that may replace a word (default 15)"
    )
    parser.add_argument(
        "--probability", type=float, default=0.4, metavar="P", help="that a word is replaced (default 0.4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the model's")
    run(
        args.model,
        args.input,
        args.output,
        columns=Columns(text=args.text, text_pair=args.text_pair),
        candidates=args.candidates,
        options=AugmentOptions(copies=args.copies, probability=args.probability, seed=args.seed),
        checkpoint=args.checkpoint,
        part=args.part,
    )


def run(
    model: str | Path,
    source: str,
    output: Path,
    *,
    columns: Columns = Columns(),
    candidates: int = 15,
    options: AugmentOptions = AugmentOptions(),
    checkpoint: str = "last",
    part: str | None = None,
) -> None:
    """Writes `output` and prints how many rows it has.

    Raises:
      UserError: as `augment_file`; no model there, or one without MLM head.
    """
    from bert_jax import api
    from bert_jax.models.inference import Inference
    from bert_jax.prediction.substitutes import Substitutes

    loaded = api.load(model, checkpoint=checkpoint, part=part)
    placed = Inference(loaded.config, loaded.params)
    substitutes = Substitutes(placed, loaded.tokenizer, count=candidates)
    read, written = augment_file(substitutes, source, output, columns=columns, options=options)
    print(f"{output}: {written} rows, {read} of them the originals")
