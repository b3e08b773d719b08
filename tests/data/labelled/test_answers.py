"""From logits to text, against a plain second implementation and by hand."""

import itertools
import math

import numpy as np
import pytest

from bert_jax.data.labelled.answers import candidates
from bert_jax.data.labelled.contexts import window_features
from bert_jax.data.labelled.examples import QuestionExample
from bert_jax.errors import UserError
from tests.text.samples import HARD, trained

CONTEXTS = (*HARD, " ".join(HARD), "fox", "  the  fox 🦊  jumps ")
EXAMPLES = [QuestionExample(str(i), "the fox?", text, None, f"file:{i}") for i, text in enumerate(CONTEXTS)]


def features_of(kind="wordpiece", examples=EXAMPLES):
    return window_features(examples, trained(kind=kind), max_length=40, stride=10, max_question=10, types=2)


def found_in(features, logits, examples=EXAMPLES, **options):
    options = {"n_best": 5, "max_answer": 6, "may_be_none": False, "numbers": range(len(examples))} | options
    return list(candidates(examples, features, logits, **options))


def draw(features, seed=0, ties=False):
    logits = np.random.default_rng(seed).normal(size=(len(features.tokens_T), 2)).astype(np.float32) * 3
    return np.round(logits) if ties else logits


def plain(examples, features, logits, n_best, max_answer):
    """Per example ((text, start, end, score) of the best spans, the null score), as run_qa's postprocessing finds them
    in loops; a span that several windows hold counts once."""
    found = []
    for number, example in enumerate(examples):
        spans, null = {}, math.inf
        for window in np.flatnonzero(features.examples_S == number):
            first = int(features.lengths_S[:window].sum())
            size = int(features.lengths_S[window])
            scores = logits[first : first + size].astype(float)
            null = min(null, scores[0, 0] + scores[0, 1])
            offsets = features.kept["spans_T2"][first : first + size].tolist()
            context = [i for i in range(size) if offsets[i][0] >= 0]
            starts = sorted(context, key=lambda i: (-scores[i, 0], i))[:n_best]
            ends = sorted(context, key=lambda i: (-scores[i, 1], i))[:n_best]
            for i, j in itertools.product(starts, ends):
                if i <= j and j - i + 1 <= max_answer:
                    place = (offsets[i][0], offsets[j][1])
                    spans[place] = max(spans.get(place, -math.inf), scores[i, 0] + scores[j, 1])
        kept = []
        for (start, end), score in sorted(spans.items(), key=lambda item: (-item[1], item[0])):
            while start < end and example.context[start].isspace():
                start += 1
            while start < end and example.context[end - 1].isspace():
                end -= 1
            if start < end and (start, end) not in [span[1:3] for span in kept]:
                kept.append((example.context[start:end], start, end, score))
        found.append((kept[:n_best], null))
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_the_best_spans_are_those_of_a_plain_search(kind, ties):
    features = features_of(kind)
    assert len(features.lengths_S) > len(EXAMPLES) + 2
    for seed in range(5):
        logits = draw(features, seed, ties)
        found = found_in(features, logits, n_best=8, max_answer=4)
        expected = plain(EXAMPLES, features, logits, 8, 4)
        for one, (spans, null) in zip(found, expected, strict=True):
            if spans:
                assert [span[:4] for span in one.spans] == spans
            assert one.null_score == null


def test_the_best_of_all_pairs_is_found_where_all_are_tried():
    features = features_of()
    logits = draw(features)
    best = [one.spans[0] for one in found_in(features, logits, n_best=100, max_answer=100)]
    for number, span in enumerate(best):
        scores = []
        for window in np.flatnonzero(features.examples_S == number):
            tokens = slice(features.starts_S[window], features.starts_S[window] + features.lengths_S[window])
            inside = logits[tokens][features.kept["spans_T2"][tokens, 0] >= 0].astype(float)
            scores += [inside[i, 0] + inside[j, 1] for i in range(len(inside)) for j in range(i, len(inside))]
        assert span.score == max(scores)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_answers_are_parts_of_their_contexts_without_space_at_the_ends(kind):
    features = features_of(kind)
    for one, context in zip(found_in(features, draw(features), n_best=50), CONTEXTS, strict=True):
        assert one.spans
        for span in one.spans:
            assert context[span.start : span.end] == span.text == span.text.strip() != ""
        assert len({span[1:3] for span in one.spans}) == len(one.spans)


def test_probabilities_are_a_softmax_with_no_answer_in_it_if_it_is_possible():
    features = features_of()
    logits = draw(features)
    for must, may in zip(
        found_in(features, logits), found_in(features, logits, may_be_none=True), strict=True
    ):
        scores = np.array([span.score for span in must.spans])
        np.testing.assert_allclose(
            [span.probability for span in must.spans], np.exp(scores) / np.exp(scores).sum(), rtol=1e-6
        )
        assert must.null_probability == 0
        total = np.exp(scores).sum() + np.exp(may.null_score)
        np.testing.assert_allclose(
            [span.probability for span in may.spans], np.exp(scores) / total, rtol=1e-6
        )
        assert may.null_probability == pytest.approx(np.exp(may.null_score) / total)
        assert may.no_answer == must.no_answer == must.null_score - must.spans[0].score


def one_example(text, logits_of):
    """What is found in `text`, whose tokens are its words, for the scores {word: (start, end)}; 0 otherwise."""
    examples = [QuestionExample("q", "dog", text, None, "here")]
    features = features_of(examples=examples)
    logits = np.zeros((len(features.tokens_T), 2), np.float32)
    for token, (start, end) in enumerate(features.kept["spans_T2"]):
        if start >= 0:
            logits[token] = logits_of.get(text[start:end], (0, 0))
    return lambda **options: found_in(features, logits, examples, **options)[0]


def test_a_span_is_no_longer_than_it_may_be():
    found = one_example("the quick brown fox", {"quick": (9, 0), "fox": (0, 9)})
    assert found(max_answer=3).text == "quick brown fox"
    assert found(max_answer=2).text in ("quick brown", "brown fox", "quick", "fox")
    assert all(len(span.text.split()) == 1 for span in found(max_answer=1).spans)


def test_equal_scores_go_to_the_earlier_and_the_shorter_span():
    found = one_example("the quick brown fox", {})
    assert [span.text for span in found(n_best=3).spans] == ["the", "the quick", "the quick brown"]


def test_there_is_a_span_though_the_best_end_lies_before_the_best_start():
    found = one_example("the quick brown fox", {"fox": (5, 0), "the": (0, 4)})
    assert found(n_best=1).text == "fox"


def test_a_context_without_tokens_has_no_span():
    found = one_example("\x07", {})
    assert found(may_be_none=True)[0] == () and found(may_be_none=True).text == ""
    assert found(may_be_none=True).null_probability == 1 and found().no_answer == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_one_line(bad):
    features = features_of()
    logits = draw(features)
    logits[features.starts_S[3] + 2, 1] = bad
    place = EXAMPLES[features.examples_S[3]].place
    with pytest.raises(UserError, match=f"{place}: the model's scores.*learning_rate"):
        found_in(features, logits)


def test_some_examples_alone():
    features = features_of()
    logits = draw(features)
    whole = found_in(features, logits)
    assert found_in(features, logits, numbers=[4, 1]) == [whole[4], whole[1]]
