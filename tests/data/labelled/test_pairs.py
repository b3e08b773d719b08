"""Pairs that are encoded apart: what each sequence holds, and where a pair lies in a batch."""

import numpy as np
import pytest

from bert_jax.batch import Host
from bert_jax.data.labelled.batches import EvaluationBatches, Layout, TrainingBatches
from bert_jax.data.labelled.examples import TextExample
from bert_jax.data.labelled.open import Columns, read_texts
from bert_jax.data.labelled.pairs import pair_features
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer

WORDS = ["film", "plot", "the", "a", "was"]
ENTRIES = [*kinds.SPECIAL["wordpiece"].values(), *WORDS]
TOKENIZER = Tokenizer(kinds.wordpiece({token: i for i, token in enumerate(ENTRIES)}, lowercase=True))


def examples(count=40):
    rng = np.random.default_rng(0)
    for number in range(count):
        text, partner = (" ".join(rng.choice(WORDS, rng.integers(1, 15))) for _ in range(2))
        yield TextExample(text, partner, float(number), f"file:{number + 1}")


def framed(text, most):
    ids = [ENTRIES.index(word) for word in text.split()][: most - 2]
    return [TOKENIZER.special.cls, *ids, TOKENIZER.special.sep]


def test_each_text_is_a_sequence_of_its_own_cut_by_itself():
    given = list(examples())
    features = pair_features(given, TOKENIZER, max_length=9)
    assert (features.units, features.parts, len(features.lengths_S)) == (40, 2, 80)
    texts = [text for example in given for text in (example.text, example.text_pair)]
    for text, start, length in zip(texts, features.starts_S, features.lengths_S, strict=True):
        assert features.tokens_T[start : start + length].tolist() == framed(text, 9)
    assert features.cut == sum(max(len(e.text.split()), len(e.text_pair.split())) > 7 for e in given) > 0
    assert not features.type_ids_T.any()
    assert features.of_sequences["targets_P"].tolist() == [n for n in range(40) for _ in range(2)]
    assert features.examples_S.tolist() == [n for n in range(40) for _ in range(2)]


@pytest.mark.parametrize("batching", ["pack", "pad"])
def test_a_pair_lies_in_neighbouring_places_of_one_row(batching):
    given = list(examples())
    features = pair_features(given, TOKENIZER, max_length=16)
    layout = Layout.of(features, batching=batching, batch_size=16)
    source = TrainingBatches(features, layout, batch_size=16, batching=batching, seed=1)
    whole = EvaluationBatches(features, layout, batch_size=16)
    drawn = [next(source.iterate(0, 1))]
    for batches, count in ((drawn, 16), (list(whole.iterate(0, whole.count)), 40)):
        seen = []
        for batch in batches:
            for row, ids in enumerate(batch["features_BP"].reshape(len(batch["features_BP"]), -1, 2)):
                for pair, (first, second) in enumerate(ids.tolist()):
                    if first < 0:
                        assert second < 0 and not batch["weights_BP"][row, 2 * pair : 2 * pair + 2].any()
                        continue
                    assert second == first + 1 and first % 2 == 0
                    seen.append(first // 2)
                    for slot, text in (
                        (2 * pair, given[seen[-1]].text),
                        (2 * pair + 1, given[seen[-1]].text_pair),
                    ):
                        is_of = batch["pack_ids_BL"][row] == slot + 1
                        assert batch["tokens_BL"][row, is_of].tolist() == framed(text, 16)
                        assert batch["positions_BL"][row, is_of].tolist() == list(range(is_of.sum()))
                        assert batch["targets_BP"][row, slot] == seen[-1]
        assert len(seen) == len(set(seen)) == count


def test_hosts_have_the_parts_of_one_batch():
    features = pair_features(list(examples()), TOKENIZER, max_length=16)
    layout = Layout.of(features, batching="pack", batch_size=16)

    def first(**host):
        source = TrainingBatches(
            features, layout, batch_size=16, batching="pack", seed=1, host=Host(multiple=4, **host)
        )
        return next(source.iterate(0, 1))["features_BP"]

    parts = [first(index=index, count=2) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), first())


def test_pairs_may_lack_numbers():
    given = [TextExample("the film", "a film", None, "file:1")]
    assert not pair_features(given, TOKENIZER, max_length=16).of_sequences


def test_pairs_are_chosen_by_number_or_read_without(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("text\ttext2\tscore\na\tb\t4\nc\td\t3.5\ne\t \t5\ng\th\t5\n")

    def read(**options):
        return read_texts(str(path), columns=Columns(), pair=True, label="number", **options)

    high = read(least=4)
    assert [(e.text, e.label) for e in high.examples] == [("a", 4.0), ("g", 5.0)]
    assert high.skipped == {"a number below 4": 1, "empty text": 1}
    assert [e.text for e in read(least=4, limit=1).examples] == ["a"]
    whole, full = read(labelled=False), read(labelled=False, keep_empty=False)
    assert [e.text for e in whole.examples] == ["a", "c", "e", "g"]
    assert [e.text for e in full.examples] == ["a", "c", "g"] and full.skipped == {"empty text": 1}
    assert len({one.digest for one in (high, whole, full, read())}) == 4
