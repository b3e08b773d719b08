"""Tag schemes and entity scores: round trips, detection, and conlleval's and seqeval's rules."""

from __future__ import annotations

import re
import time
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.scoring.entities import (
    Entity,
    Scheme,
    all_tags,
    convert,
    detect_scheme,
    entities,
    entity_scores,
    scheme_of_tags,
    tags_of,
)
from tests.scoring.golden import cases

SCHEMES = get_args(Scheme)
KINDS = ("PER", "creative-work")


@st.composite
def sentences(draw) -> tuple[int, list[Entity]]:
    """A length, and entities of one to four words in order, often without a word between them."""
    found, stop = [], 0
    for kind, words, gap in draw(
        st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, 2)), max_size=5)
    ):
        found.append(Entity(kind, stop + gap, stop + gap + words))
        stop = found[-1].stop
    return stop + draw(st.integers(0, 2)), found


def apart(found: list[Entity]) -> list[Entity]:
    """`found` as "io" keeps them: neighbours of one type are one entity."""
    merged: list[Entity] = []
    for entity in found:
        if merged and (merged[-1].kind, merged[-1].stop) == (entity.kind, entity.start):
            merged[-1] = merged[-1]._replace(stop=entity.stop)
        else:
            merged.append(entity)
    return merged


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("io", "I-A I-A I-A I-A O I-B I-A"),
        ("iob1", "I-A I-A I-A B-A O I-B I-A"),
        ("iob2", "B-A I-A I-A B-A O B-B B-A"),
        ("iobes", "B-A I-A E-A S-A O S-B S-A"),
        ("bilou", "B-A I-A L-A U-A O U-B U-A"),
    ],
)
def test_every_scheme_by_hand(scheme, tags):
    found = [Entity("A", 0, 3), Entity("A", 3, 4), Entity("B", 5, 6), Entity("A", 6, 7)]
    assert tags_of(found, 7, scheme=scheme) == tags.split()
    assert entities(tags.split(), scheme=scheme) == (apart(found) if scheme == "io" else found)
    assert detect_scheme([["O"], tags.split()]) == scheme


@pytest.mark.parametrize("scheme", SCHEMES)
@given(sentence=sentences())
def test_entities_to_tags_and_back(scheme, sentence):
    length, found = sentence
    tags = tags_of(found, length, scheme=scheme)
    assert len(tags) == length
    assert entities(tags, scheme=scheme) == (apart(found) if scheme == "io" else found)


@pytest.mark.parametrize("source", [scheme for scheme in SCHEMES if scheme != "io"])
@pytest.mark.parametrize("to", [scheme for scheme in SCHEMES if scheme != "io"])
@given(sentence=sentences())
def test_a_conversion_and_its_return_change_nothing(source, to, sentence):
    tags = tags_of(sentence[1], sentence[0], scheme=source)
    assert convert(convert(tags, source=source, to=to), source=to, to=source) == tags


@given(st.lists(sentences(), min_size=1, max_size=4), st.sampled_from(SCHEMES))
def test_a_scheme_that_is_detected_reads_the_same_entities(drawn, scheme):
    sequences = [tags_of(found, length, scheme=scheme) for length, found in drawn]
    detected = detect_scheme(sequences)
    for tags in sequences:
        assert entities(tags, scheme=detected) == entities(tags, scheme=scheme)


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        ([], "io"),
        ([[], ["O", "O"]], "io"),
        ([["I-A", "I-B"]], "io"),
        ([["I-A", "B-A"]], "iob1"),
        ([["B-A", "B-A", "I-A"]], "iob2"),
        ([["O"], ["S-A"]], "iobes"),
        ([["B-A", "E-A"]], "iobes"),
        ([["U-A"]], "bilou"),
        ([["B-A", "L-A"]], "bilou"),
    ],
)
def test_the_narrowest_scheme_is_detected(sequences, scheme):
    assert detect_scheme(sequences) == scheme


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([["O"], ["O", "B-"]], "sentence 2, tag 2: 'B-' is no tag of any scheme"),
        ([["B"]], "sentence 1, tag 1: 'B' is no tag"),
        ([["NOUN"]], "'NOUN' is no tag"),
        ([["X-PER"]], "'X-PER' is no tag"),
        ([["PER-B"]], "'PER-B' is no tag"),
        ([["-PER"]], "'-PER' is no tag"),
        ([["BI-PER"]], "'BI-PER' is no tag"),
        (
            [["B-A"], ["O", "I-A"]],
            "iob1 has no B-A after O (sentence 1, tag 1); iob2 has no I-A after O (sentence 2, tag 2)",
        ),
        ([["B-A", "E-A"], ["B-A"]], "iobes has no O after B-A (sentence 2, end)"),
        ([["B-A", "E-A", "U-A"]], "none has all of B E U"),
    ],
)
def test_tags_of_no_scheme_are_refused(sequences, message):
    with pytest.raises(UserError, match=re.escape(message)):
        detect_scheme(sequences)


def test_a_tag_of_another_scheme_and_an_unknown_scheme_are_refused():
    with pytest.raises(UserError, match="tag 2: 'B-A' is no tag of 'io'"):
        entities(["O", "B-A"], scheme="io")
    with pytest.raises(UserError, match="'iob3' is unknown: name one of io, iob1"):
        convert(["O"], source="iob2", to="iob3")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("I-A I-A", "A:0-2"),
        ("B-A I-B I-A", "A:0-1 B:1-2 A:2-3"),
        ("O I-A B-A", "A:1-2 A:2-3"),
        ("E-A E-A", "A:0-1 A:1-2"),
        ("B-A E-A I-A", "A:0-2 A:2-3"),
        ("S-A I-A E-A", "A:0-1 A:1-3"),
        ("B-A E-B", "A:0-1 B:1-2"),
    ],
)
def test_tags_that_break_a_scheme_are_read_as_the_official_scripts_read_them(tags, found):
    read = entities(tags.split(), scheme="iobes")
    assert " ".join(f"{entity.kind}:{entity.start}-{entity.stop}" for entity in read) == found


def test_the_modes_differ_where_no_b_begins_an_entity():
    gold = [["B-A", "I-A", "O", "B-B"]]
    found = [["B-A", "I-A", "I-B", "I-B"]]
    lenient = {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.5, "f1/A": 1.0, "f1/B": 0.0}
    assert entity_scores(gold, found, mode="conll") == lenient
    assert entity_scores(gold, found, mode="seqeval") == lenient
    strict = entity_scores(gold, found, mode="strict")
    assert strict == pytest.approx(lenient | {"precision": 1.0, "f1": 2 / 3})


def test_seqeval_reads_e_and_s_and_conlleval_does_not():
    gold, found = [["B-A", "E-A", "S-A"]], [["B-A", "E-A", "O"]]
    assert entity_scores(gold, found, mode="seqeval")["f1"] == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="gold sentence 1, tag 2: 'E-A' is no tag of 'conll'"):
        entity_scores(gold, found, mode="conll")


def test_an_entity_needs_both_ends_and_the_type():
    gold = [["B-A", "I-A", "O", "B-B"], ["B-A"]]
    found = [["B-A", "O", "O", "B-A"], ["B-A"]]
    scores = entity_scores(gold, found, mode="conll")
    assert scores == pytest.approx(
        {
            "f1": 1 / 3,
            "precision": 1 / 3,
            "recall": 1 / 3,
            "accuracy": 3 / 5,
            "f1/A": 2 / 5,
            "f1/B": 0.0,
        }
    )


def test_an_entity_does_not_cross_the_end_of_a_sentence():
    assert entity_scores([["O", "I-A"], ["I-A"]], [["O", "I-A"], ["O"]], mode="conll")["recall"] == 0.5


def test_tags_without_entities_score_0_and_are_all_right():
    scores = entity_scores([["O", "O"]], [["O", "O"]], mode="strict")
    assert scores == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize("mode", ["conll", "seqeval", "strict"])
@given(drawn=st.lists(sentences(), min_size=1, max_size=4))
def test_equal_sequences_score_1(mode, drawn):
    sequences = [
        tags_of(found, length, scheme="iob2") for length, found in [*drawn, (1, [Entity("A", 0, 1)])]
    ]
    assert set(entity_scores(sequences, sequences, mode=mode).values()) == {1.0}


@given(
    st.lists(st.tuples(sentences(), sentences()), min_size=1, max_size=5), st.randoms(use_true_random=False)
)
def test_the_order_of_sentences_does_not_matter(drawn, random):
    pairs = []
    for (gold_length, gold), (length, found) in drawn:
        longest = max(gold_length, length)
        pairs.append([tags_of(spans, longest, scheme="iob2") for spans in (gold, found)])
    pairs.append([["O"], ["O"]])
    shuffled = random.sample(pairs, len(pairs))
    scores, again = (
        entity_scores([gold for gold, _ in p], [found for _, found in p], mode="conll")
        for p in (pairs, shuffled)
    )
    assert scores == again


@pytest.mark.parametrize(
    ("gold", "found", "mode", "message"),
    [
        ([["O"]], [], "conll", "gold has 1 sentences and the predictions 0"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], "conll", "sentence 2 has 2 gold tags and 1 predicted"),
        ([], [], "conll", "0 tags"),
        ([["O"]], [["B-"]], "seqeval", "predicted sentence 1, tag 1: 'B-'"),
        ([["I-A", "O"]], [["B-A", "O"]], "strict", "no entity of the gold tags begins with B"),
    ],
)
def test_what_cannot_be_scored_is_refused(gold, found, mode, message):
    with pytest.raises(UserError, match=message):
        entity_scores(gold, found, mode=mode)


def test_fifty_thousand_sentences_take_seconds():
    rng = np.random.default_rng(0)
    labels = np.array(["O", "O", "O", "B-A", "I-A", "B-B", "I-B"])
    gold, found = (labels[rng.integers(0, 7, (50_000, 20))].tolist() for _ in range(2))
    start = time.process_time()
    entity_scores(gold, found, mode="conll")
    assert time.process_time() - start < 10  # measured: 1


def test_golden_ner_cases():
    golden = cases("golden/ner_eval_cases.json")
    gold, found = ([sentence[side] for sentence in golden["sentences"]] for side in ("gold", "pred"))
    results = golden["results"]
    scores = entity_scores(gold, found, mode="seqeval")
    default = results["seqeval_default"]
    for name in ("precision", "recall", "f1", "accuracy"):
        assert scores[name] == pytest.approx(default[name], rel=1e-12)
    by_kind = {name: value for name, value in scores.items() if name.startswith("f1/")}
    assert np.mean(list(by_kind.values())) == pytest.approx(default["macro_f1"], rel=1e-12)
    report = {f"f1/{kind}": row["f1-score"] for kind, row in results["report"].items() if "avg" not in kind}
    assert by_kind == pytest.approx(report, rel=1e-12)
    strict = entity_scores(gold, found, mode="strict")
    assert {name: strict[name] for name in ("precision", "recall", "f1")} == pytest.approx(
        results["seqeval_strict_IOB2"], rel=1e-12
    )
    assert conlleval(entity_scores(gold, found, mode="conll")) == printed(results["conlleval"])
    assert detect_scheme(gold) == "iob2"


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_all_tags_of_a_scheme_name_it_and_are_read_in_it(scheme):
    tags = all_tags(("LOC", "PER"), scheme=scheme)
    assert tags[0] == "O" and len(set(tags)) == len(tags) == 1 + 2 * {"io": 1, "iob1": 2, "iob2": 2}.get(
        scheme, 4
    )
    assert {entity.kind for tag in tags for entity in entities([tag], scheme=scheme)} == {"LOC", "PER"}
    found = scheme_of_tags(tags)
    assert set(all_tags(("LOC", "PER"), scheme=found)) == set(tags)


def test_labels_that_the_data_does_not_use_widen_the_scheme():
    labels = all_tags(("A",), scheme="iob2")
    assert detect_scheme([["O"]], labels=labels) == "iob1"
    assert detect_scheme([["B-A", "O"]], labels=labels) == "iob2"
    assert detect_scheme([["U-A", "O"]], labels=("O", "PAD")) == "bilou"


def test_labels_that_mark_no_entities_have_no_scheme():
    assert scheme_of_tags(("O", "B-PER", "I-PER", "E-PER")) == "iobes"
    for labels in (("NOUN", "O"), ("LABEL_0", "LABEL_1"), ("O", "PER"), ("E-PER", "U-PER"), ("O",), ()):
        assert scheme_of_tags(labels) is None


def conlleval(scores: dict[str, float]) -> dict[str, str]:
    """Scores as conlleval prints them, in per cent."""
    return {name: f"{100 * value:.2f}" for name, value in scores.items()}


def printed(text: str) -> dict[str, str]:
    """conlleval's own text, named as our scores are."""
    totals = re.search(r"accuracy: +(\S+)%; precision: +(\S+)%; recall: +(\S+)%; FB1: +(\S+)", text)
    kinds = re.findall(r"^ +(\S+): precision.*FB1: +(\S+)", text, re.MULTILINE)
    return dict(zip(("accuracy", "precision", "recall", "f1"), totals.groups(), strict=True)) | {
        f"f1/{kind}": f1 for kind, f1 in kinds
    }
