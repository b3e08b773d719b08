"""Classifying texts: what becomes of the scores, and models that cannot."""

import dataclasses

import jax
import numpy as np
import pytest

from bert_jax import api
from bert_jax.config import HeadConfig
from bert_jax.errors import UserError
from bert_jax.models import bert
from tests.tiny_models import save_tiny

WORDS = ["good", "bad", "film", "the", "."]
TEXTS = ["the film", "good . good", "bad"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return api.load(save_tiny(tmp_path_factory.mktemp("made") / "model", WORDS))


def with_head(plain, kind, labels=()):
    config = dataclasses.replace(plain.config, head=HeadConfig(kind=kind, labels=labels))
    return api.Model(config, bert.init_params(config, jax.random.key(1), ()), plain.tokenizer)


def logits_of(model, text):
    ids = model.tokenizer.encode(text, special=True)
    return np.asarray(model(np.array([ids])).class_logits_BPC[0, 0], np.float64)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_scores_become_classes_labels_or_a_number(kind, plain):
    labels = () if kind == "regression" else ("a", "b", "c")
    model = with_head(plain, kind, labels)
    for text, found in zip(TEXTS, model.classify(TEXTS), strict=True):
        logits_C = logits_of(model, text)
        if kind == "regression":
            assert found.label == pytest.approx(float(logits_C[0]), abs=1e-5)
            assert found.probabilities == {}
            continue
        odds_C = np.exp(logits_C)
        expected_C = odds_C / odds_C.sum() if kind == "classification" else odds_C / (1 + odds_C)
        assert list(found.probabilities.values()) == pytest.approx(expected_C.tolist(), abs=1e-5)
        best = labels[int(logits_C.argmax())]
        over = tuple(label for label, logit in zip(labels, logits_C, strict=True) if logit > 0)
        assert found.label == (best if kind == "classification" else over)


def test_a_model_whose_head_reads_a_pooler_that_is_not_there_is_said_not_to_classify(plain):
    whole = with_head(plain, "classification", ("a", "b"))
    params = {**whole.params, "bert": {k: v for k, v in whole.params["bert"].items() if k != "pooler"}}
    model = api.Model(whole.config, params, plain.tokenizer)
    assert model.embed(TEXTS).shape == (3, 32)
    with pytest.raises(UserError, match="no pooler"):
        model.classify(TEXTS)


def test_a_model_without_a_head_is_refused(plain):
    with pytest.raises(UserError, match="task head is 'none'"):
        plain.classify(TEXTS)
