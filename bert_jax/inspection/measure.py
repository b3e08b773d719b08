"""The measurements of a corpus report, as one JSON-ready dictionary."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from bert_jax.batch import Batch
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.batches.rows import Rows, assemble
from bert_jax.data.instances.index import Split, split_documents
from bert_jax.inspection import corpus as report
from bert_jax.inspection import masks as mask_report
from bert_jax.inspection.decoded_rows import label_words
from bert_jax.progress import bar
from bert_jax.text.tokenizer import Tokenizer

_BATCHES, _ROWS = 200, 50_000  # at most, for the statistics of masks
_SIZES = ("documents", "sentences", "tokens", "characters", "unknown", "unused_entries", "documents_read")


def measure(batches: Batches, vocabulary: Tokenizer, *, experiment: str = "X") -> dict[str, Any]:
    """The statistics of the corpus of `batches`, of their rows and of their masks. experiment: for the title."""
    config, shards = batches.config, batches.shards
    data = config.data
    ordinary = vocabulary.ordinary_ids()
    number = len(shards.document_starts) - 1

    def split_figures(split: Split) -> dict[str, int]:
        return report.describe_split(shards, split_documents(number, data.eval_fraction, split))

    counts = shards.manifest["counts"]
    labels = (label_words(1, data), label_words(0, data)) if data.sentence_objective != "none" else ()
    return {
        "title": f"Corpus, rows and masks of {experiment}",
        "about": [
            f"text: {data.path}",
            f"prepared in {shards.folder}",
            f"{batches.split} split, {data.format}, sentence objective {data.sentence_objective}, rows of"
            f" {data.sequence_length}"
            + (f", up to {data.packing} examples packed" if data.packing > 1 else ""),
        ],
        "split": batches.split,
        "weights": list(data.weights),
        "packing": data.packing,
        "batches": batches.count,
        "batch_size": config.train.batch_size,
        "label_words": labels,
        "corpus": report.describe_corpus(shards, ordinary),
        "cleaning": {name: count for name, count in counts.items() if count and name not in _SIZES},
        "splits": {"training": split_figures("train"), "held out": split_figures("eval")},
        "rows": report.describe_rows(batches.index, length=data.sequence_length),
        "masking": _measure_masks(batches, len(ordinary)),
    }


def _measure_masks(batches: Batches, ordinary: int) -> dict[str, Any]:
    """Statistics of the masks of the split's first batches: training rows are in random order, so these are a sample.

    ordinary: entries of the vocabulary that are neither special nor unused.
    """
    config = batches.config
    masking, rows = config.masking, config.train.batch_size
    number = min(batches.count, _BATCHES, -(-_ROWS // rows))
    meter = mask_report.MaskingMeter(slots=masking.max_predictions, mask_id=batches.shards.special.mask)
    units = mask_report.UnitMeter(masking) if masking.unit in ("ngram", "span") else None
    for batch in bar(
        batches.iterate(0, number), description="masks", total=number, unit="batches", leave=False
    ):
        rows = present(batches, batch)
        batch = cast(Batch, {name: values[:rows] for name, values in batch.items()})
        unmasked = _unmasked(batches, batch["example_ids_B"])
        word_BL = mask_report.number_words(unmasked)
        meter.add(batch, unmasked.is_text_BL, word_BL)
        if units is not None:
            units.add(unmasked, word_BL)
    whole = masking.random_from == "vocabulary"
    return meter.result() | {
        "unit": masking.unit,
        "mode": masking.mode,
        "configured_rate": masking.rate,
        "expected_shown": mask_report.expected_shown(
            masking, entries=batches.shards.vocab_size if whole else ordinary, holds_mask=whole
        ),
        **({} if units is None else {"units": units.result()}),
    }


def present(batches: Batches, batch: Batch) -> int:
    """The number of leading rows of a batch that belong to the split; the last batch of an evaluation is filled up."""
    numbers = batch["example_ids_B"]
    return len(numbers) if batches.split == "train" else int((numbers < len(batches.index)).sum())


def _unmasked(batches: Batches, numbers: np.ndarray) -> Rows:
    """The rows with these global numbers, unmasked, with the starts of their words."""
    data = batches.config.data
    return assemble(
        batches.shards,
        batches.index,
        batches.instances(numbers.astype(np.int64)).numpy(),
        length=data.sequence_length,
        packing=data.packing,
        words=True,
    )
