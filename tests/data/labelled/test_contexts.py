"""Windows over contexts: the tokens of transformers' own preparation, and where the answer lies in each."""

import numpy as np
import pytest

from bert_jax.data.labelled.contexts import window_features
from bert_jax.data.labelled.examples import Answer, QuestionExample
from bert_jax.errors import UserError
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer
from tests.text.samples import HARD, trained

KINDS = ("wordpiece", "bpe")
# Without marks of direction and apart from their letter, which are in no token of some vocabularies.
LONG = " ".join(HARD).replace("\u202b", "").replace("\u202c", "").replace("a\u0301", "á")
OPTIONS = {"max_length": 48, "stride": 12, "max_question": 20, "types": 2}


def example(question, context, *answers):
    """Answers are texts, each where it first stands, -1 if nowhere; None: not known."""
    found = None if answers == (None,) else tuple(Answer(text, context.find(text)) for text in answers)
    return QuestionExample("id", question, context, found, "here")


def words_alone(*words):
    entries = [*kinds.SPECIAL["wordpiece"].values(), *words]
    return Tokenizer(kinds.wordpiece({token: i for i, token in enumerate(entries)}, lowercase=True))


def windows(features):
    """(tokens, types, spans, start, end) of each window."""
    borders = features.starts_S[1:]
    arrays = (features.tokens_T, features.type_ids_T, features.kept["spans_T2"])
    parts = [np.split(array, borders) for array in arrays]
    places = (features.of_positions["starts_P"].tolist(), features.of_positions["ends_P"].tolist())
    return list(zip(*parts, *places, strict=True))


def answered(features, context):
    """The text that each window's two positions stand for; None: [CLS]."""
    return [
        context[spans[start][0] : spans[end][1]] if start else None
        for _, _, spans, start, end in windows(features)
    ]


# ---------------------------------------------------------------------------------------------
# Against transformers
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """(our tokenizer, theirs) of one folder."""
    transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
    folder = tmp_path_factory.mktemp(request.param)
    ours = trained(kind=request.param)
    ours.save(folder, max_length=512)
    return ours, transformers.AutoTokenizer.from_pretrained(folder)


def prepared(tokenizer, examples):
    """What Hugging Face's run_qa gives the tokenizer."""
    return tokenizer(
        [example.question.lstrip() for example in examples],
        [example.context for example in examples],
        truncation="only_second",
        max_length=OPTIONS["max_length"],
        stride=OPTIONS["stride"],
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def drawn(count, seed=0):
    """Examples over parts of a long text; the answers are runs of its words."""
    rng = np.random.default_rng(seed)
    words = LONG.split(" ")
    for _ in range(count):
        first, size = int(rng.integers(len(words) - 2)), int(rng.integers(2, 80))
        part = words[first : first + size]
        begin = int(rng.integers(len(part)))
        end = begin + int(rng.integers(1, 4))
        context, text = " ".join(part), " ".join(part[begin:end])
        start = len(" ".join(part[:begin])) + bool(begin)
        answers = (Answer(text, start),) if rng.integers(5) else ()
        yield QuestionExample("id", "  the fox? ", context, answers, "here")


def test_windows_are_those_of_transformers(both):
    ours, theirs = both
    examples = list(drawn(60))
    features = window_features(examples, ours, **OPTIONS)
    expected = prepared(theirs, examples)
    assert features.examples_S.tolist() == expected["overflow_to_sample_mapping"]
    assert len(features.lengths_S) > 100
    for number, (tokens, types, spans, _, _) in enumerate(windows(features)):
        assert tokens.tolist() == expected["input_ids"][number]
        if "token_type_ids" in expected:
            assert types.tolist() == expected["token_type_ids"][number]
        of_context = [sequence == 1 for sequence in expected.sequence_ids(number)]
        assert (spans[:, 0] >= 0).tolist() == of_context
        offsets = np.array(expected["offset_mapping"][number])
        assert np.array_equal(spans[of_context], offsets[of_context])


def run_qa_places(offsets, sequence_ids, answer):
    """The positions of Hugging Face's run_qa, but for the answer that ends with its window, where it runs on."""
    if answer is None:
        return 0, 0
    start, end = answer.start, answer.start + len(answer.text)
    first = sequence_ids.index(1)
    last = len(sequence_ids) - 1 - sequence_ids[::-1].index(1)
    if not (offsets[first][0] <= start and offsets[last][1] >= end):
        return 0, 0
    left, right = first, last
    while left <= last and offsets[left][0] <= start:
        left += 1
    while offsets[right][1] >= end:
        right -= 1
    return left - 1, right + 1


def test_answers_have_the_positions_of_run_qa(both):
    ours, theirs = both
    # An answer that begins with an emoji has no first token for run_qa in a byte-level vocabulary: its end lies before.
    examples = [e for e in drawn(200, seed=1) if all(a.text.isascii() for a in e.answers)]
    features = window_features(examples, ours, **OPTIONS)
    expected = prepared(theirs, examples)
    held = 0
    for number, (_, _, _, start, end) in enumerate(windows(features)):
        answers = examples[features.examples_S[number]].answers
        places = run_qa_places(
            expected["offset_mapping"][number],
            expected.sequence_ids(number),
            answers[0] if answers else None,
        )
        assert (start, end) == places
        held += start > 0
    assert held > 50


# ---------------------------------------------------------------------------------------------
# The answer
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_has_the_answer_if_it_holds_all_of_it(kind):
    tokenizer = trained(kind=kind)
    for e in drawn(80):
        found = set(answered(window_features([e], tokenizer, **OPTIONS), e.context)) - {None}
        assert found <= {answer.text for answer in e.answers}
        # What is no longer than the stride is whole in one of the windows.
        assert len(found) == 1 or all(len(tokenizer.encode(f" {a.text}")) > 12 for a in e.answers)


def test_the_windows_cover_the_context_and_share_the_stride():
    tokenizer = trained()
    e = example("the fox?", LONG)
    found = windows(window_features([e], tokenizer, **OPTIONS))
    parts = [spans[spans[:, 0] >= 0].tolist() for _, _, spans, _, _ in found]
    assert len(parts) > 2
    assert all(one[-12:] == other[:12] for one, other in zip(parts, parts[1:], strict=False))
    joined = parts[0] + [span for part in parts[1:] for span in part[12:]]
    assert len(joined) == len(tokenizer.encode(LONG, special=True)) - 2
    assert all(len(tokens) == 48 for tokens, *_ in found[:-1])
    third = window_features([e], tokenizer, **(OPTIONS | {"stride": 0}))
    assert np.array_equal(
        third.tokens_T, window_features([e], tokenizer, **(OPTIONS | {"stride": 16})).tokens_T
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [(" lazy dog ", "lazy dog"), ("🦊", "🦊"), ("fox 🦊 the", "fox 🦊 the"), ("dog.", "dog.")],
)
def test_space_around_an_answer_and_characters_of_several_tokens(kind, text, expected):
    context = "over the  lazy dog over a fox 🦊 the lazy dog."
    features = window_features([example("fox?", context, text)], trained(kind=kind), **OPTIONS)
    assert answered(features, context) == [expected]


def test_the_first_answer_that_the_context_holds_is_learnt():
    tokenizer = trained()
    context = "the quick brown fox"
    for answers, expected in (
        (("fox", "quick"), "fox"),
        (("dog", "quick"), "quick"),
        (("dog",), None),
        ((), None),
        ((None,), None),
    ):
        features = window_features([example("what?", context, *answers)], tokenizer, **OPTIONS)
        assert answered(features, context) == [expected]


def test_an_answer_of_characters_that_no_token_has_is_none():
    context = "the \x07\x07 fox"
    assert answered(window_features([example("what?", context, "\x07")], trained(), **OPTIONS), context) == [
        None
    ]


# ---------------------------------------------------------------------------------------------
# Questions and limits
# ---------------------------------------------------------------------------------------------


def test_a_long_question_is_cut_as_berts_code_cuts_it_and_counted():
    tokenizer = trained()
    long = "the overjoyed crowd jumped over mathematics " * 4
    examples = [example(f" {long}", "a fox"), example("fox?", "a fox")]
    features = window_features(examples, tokenizer, **OPTIONS)
    assert features.cut == 1
    question = tokenizer.encode(long, special=True)[1:21]
    first = windows(features)[0][0].tolist()
    special = tokenizer.special
    assert first == [special.cls, *question, special.sep, *tokenizer.encode("a fox"), special.sep]


def test_a_model_without_segments_sees_none():
    features = window_features([example("fox?", "a fox")], trained(), **(OPTIONS | {"types": 1}))
    assert not features.type_ids_T.any()
    assert window_features([example("fox?", "a fox")], trained(), **OPTIONS).type_ids_T.any()


def test_a_question_that_leaves_no_room_is_one_line():
    tokenizer = words_alone("a", "b")
    few = OPTIONS | {"max_length": 16, "stride": 4}
    fits = example("a " * 8, "b " * 20)  # 8 + 3 special + 4 shared: one new token a window
    assert len(window_features([fits], tokenizer, **few).lengths_S) == 16
    with pytest.raises(
        UserError, match=r"9 tokens of the question, 3 special.*stride=4 must be < max_length=16"
    ) as e:
        window_features([example("a " * 9, "b")], tokenizer, **few)
    assert "\n" not in str(e.value)


def test_a_context_without_tokens_is_a_window_without_an_answer():
    features = window_features([example("fox?", " \x07 ", "\x07")], trained(), **OPTIONS)
    [(tokens, _, spans, start, end)] = windows(features)
    assert (start, end) == (0, 0) and len(tokens) > 3 and (spans == -1).all()
