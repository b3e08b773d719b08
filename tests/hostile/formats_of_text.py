"""Text and labelled data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bert_jax.data.labelled import open as labelled
from bert_jax.data.sources.files import TextFiles
from bert_jax.data.sources.texts import texts_of
from tests.hostile.format import Format, lines, of_file, plain

_TEXTS = ["One line.\nAnother, with é and 数.", "The second document.", "A third\none."]
_ROWS = [{"text": text, "label": label} for text, label in zip(_TEXTS, ("yes", "no", "yes"), strict=True)]
_TAGGED = [{"tokens": ["A", "cat"], "tags": ["O", "B-X"]}, {"tokens": ["dogs"], "tags": ["B-X"]}]
_QUESTIONS = {
    "version": "1.1",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "The cat sat on the mat.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Who sat?",
                            "is_impossible": False,
                            "answers": [{"text": "The cat", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ],
}
_CONLLU = "# text\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\t_\tADP\t_\t_\t_\t_\t_\t_\n2\tle\t_\tDET\t_\t_\t_\t_\t_\t_\n\n"


def _zstd(content: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


_PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": _zstd}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet as pq

    sink = pyarrow.BufferOutputStream()
    pq.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def _source(path: Path) -> list[Any]:
    """As a corpus is prepared from it."""
    documents = []
    for one in TextFiles(str(path), text_field="text").inputs():
        for block in one.blocks(block_bytes=4096):
            documents += [(document.name, document.text) for document in block.documents("text")]
    return documents


def _sources() -> list[Format]:
    contents = {
        "corpus.txt": "\n\n".join(_TEXTS).encode(),
        "corpus.jsonl": lines(_ROWS).encode(),
        "corpus.parquet": _parquet(_ROWS),
    }
    return [
        of_file(name + packed, pack(content), _source)
        for name, content in contents.items()
        for packed, pack in _PACKED.items()
    ]


def _read_texts(path: Path) -> Any:
    return plain(labelled.read_texts(str(path), label="class"))


def _read_tags(path: Path) -> Any:
    return plain(labelled.read_tags(str(path)))


def _read_questions(path: Path) -> Any:
    return plain(labelled.read_questions(str(path)))


def _labelled() -> list[Format]:
    tsv = 'text\tlabel\nA cat.\tyes\nA "dog"\tno\n'
    csv = 'text,label\n"A cat,\nand a ""dog"".",yes\nDogs,no\n'
    numbers = [
        {
            "id": "q1",
            "question": "Who?",
            "context": "The cat.",
            "answers": {"text": ["cat"], "answer_start": [4]},
        }
    ]
    return [
        of_file("texts.tsv", tsv.encode(), _read_texts),
        of_file("texts.tsv.gz", gzip.compress(tsv.encode()), _read_texts),
        of_file("texts.csv", csv.encode(), _read_texts),
        of_file("texts.jsonl", lines(_ROWS).encode(), _read_texts),
        of_file("texts.json", json.dumps(_ROWS).encode(), _read_texts),
        of_file("texts.parquet", _parquet(_ROWS), _read_texts),
        of_file("tags.conll", b"-DOCSTART- O\n\nA O\ncat B-X\n\ndogs\tB-X\n", _read_tags),
        of_file("tags.conllu", _CONLLU.encode(), _read_tags),
        of_file("tags.jsonl", lines(_TAGGED).encode(), _read_tags),
        of_file("tags.parquet", _parquet(_TAGGED), _read_tags),
        of_file("squad.json", json.dumps(_QUESTIONS).encode(), _read_questions),
        of_file("questions.jsonl", lines(numbers).encode(), _read_questions),
        of_file("questions.parquet", _parquet(numbers), _read_questions),
        of_file("input.txt", "A cat.\nÉlan\n\nDogs\r\n".encode(), lambda path: list(texts_of(path))),
    ]


def formats() -> list[Format]:
    return [*_sources(), *_labelled()]
