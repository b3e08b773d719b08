"""Published sets, read whole: as many examples as their authors count. They stand beside the repository, if at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_jax.data.labelled.open import Columns, read_questions, read_tags, read_texts

DATA = Path(__file__).parents[4] / "shared/data/tasks"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the published sets of ../shared/data/tasks are not here"
)


@pytest.mark.parametrize(("file", "count", "positive"), [("train.tsv", 67349, 37569), ("dev.tsv", 872, 444)])
def test_sst2(file, count, positive):
    read = read_texts(f"{DATA}/sst2/{file}", label="class")
    assert len(read.examples) == count and read.skipped == {}
    assert sum(example.label == "1" for example in read.examples) == positive


@pytest.mark.parametrize(
    ("file", "count"), [("in_domain_train", 8551), ("in_domain_dev", 527), ("out_of_domain_dev", 516)]
)
def test_cola_has_no_header(file, count):
    read = read_texts(f"{DATA}/cola/{file}.tsv", columns=Columns(text="4", label="2"), label="class")
    assert len(read.examples) == count
    assert {example.label for example in read.examples} == {"0", "1"}


@pytest.mark.parametrize(("file", "count"), [("train", 5749), ("dev", 1500), ("test", 1379)])
def test_stsb_has_no_header_and_quotes_are_text(file, count):
    columns = Columns(text="6", text_pair="7", label="5")
    read = read_texts(f"{DATA}/stsb/sts-{file}.tsv", columns=columns, pair=True, label="number")
    assert len(read.examples) == count
    assert all(example.text_pair and 0 <= example.label <= 5 for example in read.examples)


@pytest.mark.parametrize(
    ("file", "count", "words"), [("train", 12544, 204607), ("dev", 2001, 25150), ("test", 2077, 25097)]
)
def test_ewt(file, count, words):
    read = read_tags(f"{DATA}/ud_english_ewt/{file}.conllu.gz")
    assert len(read.examples) == count
    assert (
        abs(sum(len(example.words) for example in read.examples) - words) < 0.005 * words
    )  # releases differ a little
    assert len({tag for example in read.examples for tag in example.tags}) == 17


@pytest.mark.parametrize(
    ("entry", "count", "words"),
    [
        ("wnut17/wnut17train.conll", 3394, 62730),
        ("wnut17/emerging.dev.conll", 1009, 15733),
        ("conll:wnut17/emerging.test.annotated", 1287, 23394),
        ("wikigold/wikigold.conll.txt", 1696, 39007),
    ],
)
def test_entities(entry, count, words):
    prefix, _, path = entry.rpartition(":")
    read = read_tags(f"{prefix}:{DATA}/{path}" if prefix else f"{DATA}/{path}")
    assert len(read.examples) == count
    assert sum(len(example.words) for example in read.examples) == words


@pytest.mark.parametrize(("file", "count", "unanswerable"), [("train_v2", 6078, 3168), ("eval_v1", 838, 0)])
def test_squad(file, count, unanswerable):
    read = read_questions(f"{DATA}/squad/{file}.json")
    assert len(read.examples) == count and read.skipped == {}
    assert sum(example.answers == () for example in read.examples) == unanswerable
    for example in read.examples:
        assert all(example.context.startswith(a.text, a.start) for a in example.answers)
