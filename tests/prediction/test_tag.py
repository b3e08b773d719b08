"""Tags of texts: words and entities at their characters, long texts in windows, and what the command prints."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from bert_jax import api
from bert_jax.commands import predict
from bert_jax.config.head import HeadConfig
from bert_jax.config.presets import PRESETS
from bert_jax.data.labelled.words import word_rows
from bert_jax.errors import UserError
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.prediction.inputs import Row
from bert_jax.scoring.entities import entities
from bert_jax.text.words import cut_words
from tests.text.samples import trained

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LONG = "The quick, jumping fox keeps a lazy dog! " * 8


def model_of(labels=TAGS, kind="tagging", **fields):
    tokenizer = trained(200)
    small = {"hidden_size": 16, "num_heads": 2, "mlp_size": 32, "max_positions": 48, "pooler": "none"}
    head = HeadConfig(kind=kind, labels=labels)
    config = dataclasses.replace(
        PRESETS["bert-tiny"], vocab_size=tokenizer.vocab_size, head=head, **small, **fields
    )
    params = bert.init_params(config, jax.random.key(3), ())
    params["task_head"]["output"]["kernel"] *= 40  # so that tags differ from word to word
    return api.Model(config, params, tokenizer)


@pytest.fixture(scope="module")
def model():
    return model_of()


def test_words_and_entities_stand_where_they_say(model):
    texts = ["Élan  vital! 数学.", "", LONG, " \t", "The fox (naïve\u200b) jumped."]
    found = model.tag(texts)
    assert [one.text for one in found] == texts
    for one in found:
        assert [(word.start, word.end) for word in one.words] == cut_words(one.text)
        tags = [word.tag for word in one.words]
        assert set(tags) <= set(TAGS)
        for word in one.words:
            assert word.text == one.text[word.start : word.end] and 1 / len(TAGS) <= word.probability <= 1
        expected = entities(tags, scheme="iob2")
        assert [(e.type, e.first_word, e.last_word) for e in one.entities] == [tuple(e) for e in expected]
        for entity in one.entities:
            inside = one.words[entity.first_word : entity.last_word]
            assert (entity.start, entity.end) == (inside[0].start, inside[-1].end)
            assert entity.text == one.text[entity.start : entity.end]
            assert entity.probability == pytest.approx(np.mean([word.probability for word in inside]))
    assert found[1].words == found[3].words == found[1].entities == ()
    assert len({word.tag for word in found[2].words}) > 2 and any(one.entities for one in found)


def test_given_words_are_kept_and_a_long_text_is_read_in_its_windows(model):
    words = LONG.split()
    [found] = model.tag([words], max_length=20, stride=8)
    assert [word.text for word in found.words] == words and found.text == " ".join(words)
    assert all(found.text[word.start : word.end] == word.text for word in found.words)
    rows = word_rows(model.tokenizer.encode_words([words]), model.tokenizer, max_length=20, stride=8)
    expected = {}
    for row in rows:
        logits_LC = np.asarray(model.compute([row.ids_L.tolist()]).token_logits_BLC[0], np.float64)
        for place, word in enumerate(row.words_L):
            if word >= 0:
                assert word not in expected
                expected[int(word)] = logits_LC[place]
    for number, word in enumerate(found.words):
        scores_C = expected[number]
        assert word.tag == TAGS[scores_C.argmax()]
        total = math.fsum(np.exp(scores_C))
        assert word.probability == pytest.approx(math.exp(scores_C.max()) / total, rel=1e-4)


def test_many_texts_are_each_as_alone(model):
    texts = [LONG[start : start + 3 * start % 90] for start in range(100)]
    together = model.tag(texts)
    for number in (0, 33, 64, 99):
        [alone] = model.tag([texts[number]])
        assert [word.tag for word in alone.words] == [word.tag for word in together[number].words]
        assert alone.text == together[number].text


def test_tags_that_are_classes_have_no_entities():
    [found] = model_of(labels=("NOUN", "X", "VERB")).tag(["The fox jumped."])
    assert {word.tag for word in found.words} <= {"NOUN", "X", "VERB"} and found.entities == ()


def test_what_cannot_be_tagged_is_one_line(model):
    with pytest.raises(UserError, match=r"max_length=49 must be <= 48"):
        model.tag(["a"], max_length=49)
    for stride in (-1, 16):
        with pytest.raises(UserError, match=rf"stride={stride} must be in \[0, 16\)"):
            model.tag(["a"], max_length=16, stride=stride)
    other = model_of(labels=("a", "b"), kind="classification")
    with pytest.raises(UserError, match=r"'classification', must be 'tagging'"):
        other.tag(["a"])


def test_the_command_prints_an_object_a_text_in_order(model, tmp_path, capsys):
    native.save_native(tmp_path, model.params, config=model.config, tokenizer=model.tokenizer)
    texts = ["the lazy\tdog", "", "a fox"]
    predict.run(tmp_path, "tag", rows=map(Row, texts))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [json.loads(json.dumps(dataclasses.asdict(one))) for one in model.tag(texts)]
    assert [line["text"] for line in lines] == texts
    assert set(lines[0]["words"][0]) == {"text", "tag", "probability", "start", "end"}
