"""Augmented texts: what a model proposes for a word against one forward pass at a time, and the copies of rows."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import prediction
from bert_jax.config.head import HeadConfig
from bert_jax.config.presets import PRESETS
from bert_jax.data.labelled.columns import Columns
from bert_jax.data.labelled.open import read_texts
from bert_jax.errors import UserError
from bert_jax.models import bert
from bert_jax.models.inference import Inference
from bert_jax.prediction import augment
from bert_jax.prediction.augment import AugmentOptions, Word, augment_file, copies
from bert_jax.prediction.substitutes import Substitutes, _places
from bert_jax.text.stop_words import STOP_WORDS
from bert_jax.text.words import cut_words
from tests.text.samples import trained
from tests.tiny_models import save_tiny

WORDS = [
    "film", "plot", "actor", "good", "bad", "slow", "music", "scene", "story", "bright", "the", "was", "and", "a", "it",
    "in", "##s", "##ly", ".", ",", "'", "3", "[unused1]", "é",
]  # fmt: skip
WHOLE = {word for word in WORDS if word.isalpha()}
TEXT = "The  film's plot, brightly slow; it was GOOD in 3 Scenes.\u00a0Ünknown music"
LONG = " ".join(np.random.default_rng(0).choice(WORDS[:10], 80))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return heard(bert_jax.load(save_tiny(tmp_path_factory.mktemp("m") / "model", WORDS, num_layers=2)))


def heard(model):
    """The model with larger weights, so that what it predicts depends on the words around."""

    def larger(path, leaf):
        return leaf * 10 if path[-1].key == "kernel" else leaf

    model.params = jax.tree.map_with_path(larger, model.params)
    return model


def substitutes(model, count=3, **options):
    return Substitutes(Inference(model.config, model.params, **options), model.tokenizer, count=count)


def words_of(model, text, count=3):
    [found] = substitutes(model, count).of_texts([text])
    return {text[word.start : word.end]: word for word in found}


def ranked(model, ids, types, place):
    """The whole words by their logits at a place, best first, by a forward pass of its own."""
    logits_V = np.asarray(model(np.array([ids]), np.array([types])).mlm_logits_BLV[0, place])
    allowed = [model.tokenizer.backend.token_to_id(word) for word in sorted(WHOLE)]
    return [model.tokenizer.token(i) for i in sorted(allowed, key=lambda i: -logits_V[i])]


# ---------------------------------------------------------------------------------------------
# What a model proposes
# ---------------------------------------------------------------------------------------------


def test_words_of_letters_that_are_no_stop_words_can_be_replaced(model):
    assert list(words_of(model, TEXT)) == [
        "film", "plot", "brightly", "slow", "GOOD", "Scenes", "Ünknown", "music",
    ]  # fmt: skip
    for text in ("", "  ", "It was in the...", "3 . 4"):
        assert words_of(model, text) == {}
    assert {"the", "not", "isn", "t"} < STOP_WORDS and not STOP_WORDS & {"good", "bad", "film"}
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)


@pytest.mark.parametrize("types", [2, 1, 0])
def test_a_word_of_one_token_has_the_most_probable_words_in_its_place(types, tmp_path):
    """Beside the original text where the model has two segment types, else in the masked text alone."""
    model = heard(bert_jax.load(save_tiny(tmp_path / "m", WORDS, num_layers=2, type_vocab_size=types)))
    special, ids = model.tokenizer.special, model.tokenizer.encode(TEXT)
    found = words_of(model, TEXT)
    for word in ("film", "plot", "slow", "music", "Ünknown"):
        [piece] = model.tokenizer.encode(word)
        masked = [special.cls, *ids, special.sep]
        place = len(masked) - 1 - masked[::-1].index(piece)  # the last: ; is unknown too
        masked[place] = special.mask
        pair = [*masked, *ids, special.sep] if types == 2 else masked
        assert len(pair) <= model.config.max_positions
        segments = [0] * len(masked) + [1] * (len(pair) - len(masked))
        best = ranked(model, pair, segments, place)[:3]
        assert {w.lower() for w in found[word].substitutes} == set(best)
        if types == 2 and word == "film":
            alone = ranked(model, masked, [0] * len(masked), place)[:3]
            assert set(alone) != set(best)  # the original decides
    assert len({tuple(word.substitutes) for word in found.values()}) > 2


def test_a_long_text_is_read_alone_and_a_longer_one_around_the_mask(model):
    special, ids = model.tokenizer.special, model.tokenizer.encode(LONG)
    for tokens in (40, len(ids)):
        text = model.tokenizer.cut_texts([LONG], tokens=tokens)[0]
        [found] = substitutes(model).of_texts([text])
        part = ids[:tokens]
        assert len(found) == len(part) == tokens
        for place in {0, 13, tokens // 2, tokens - 1}:
            first = min(max(place - 23, 0), max(tokens - 46, 0))
            row = [special.cls, *part[first : first + 46], special.sep]
            row[1 + place - first] = special.mask
            assert set(found[place].substitutes) == set(
                ranked(model, row, [0] * len(row), 1 + place - first)[:3]
            )


def test_a_word_of_several_tokens_has_the_nearest_words_of_the_token_table(model):
    table = np.asarray(model.params["bert"]["embeddings"]["token"], np.float64)
    index = model.tokenizer.backend.token_to_id
    for word, pieces in (("brightly", ("bright", "##ly")), ("Scenes", ("scene", "##s"))):
        vector = table[[index(piece) for piece in pieces]].mean(0)

        def cosine(other, vector=vector):
            row = table[index(other)]
            return vector @ row / np.linalg.norm(vector) / np.linalg.norm(row)

        nearest = sorted(WHOLE, key=cosine, reverse=True)[:4]
        assert nearest[0] == pieces[0]
        expected = {w.capitalize() if word[0].isupper() else w for w in nearest}
        assert set(words_of(model, TEXT, 4)[word].substitutes) == expected


def test_substitutes_are_capitalised_as_the_word(model):
    found = words_of(model, TEXT, 5)
    assert all(word.isupper() for word in found["GOOD"].substitutes)
    assert all(word.istitle() for word in found["Scenes"].substitutes)
    assert all(word.islower() for word in found["slow"].substitutes)


def test_no_more_words_than_there_are(model):
    found = words_of(model, TEXT, 500)
    assert all({w.lower() for w in word.substitutes} == WHOLE for word in found.values())


def test_texts_together_have_the_words_of_each_alone(model, monkeypatch):
    monkeypatch.setattr(prediction.batches, "_MOST", 4)
    texts = [TEXT, "", "slow music", LONG, "a brightly good Film", "music"] * 2
    together = substitutes(model).of_texts(texts)
    one_device = substitutes(model, devices=jax.devices()[:1])
    for text, found in zip(texts, together, strict=True):
        assert [found] == substitutes(model).of_texts([text]) == one_device.of_texts([text])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_words_stand_where_the_tokens_are_whatever_the_tokenizer(kind):
    tokenizer = trained(300, kind=kind)
    text = "The quick, brown fox\tjumps over: a (lazy) dog, and foxes."
    config = dataclasses.replace(
        PRESETS["bert-tiny"], vocab_size=tokenizer.vocab_size, hidden_size=16, num_heads=2, mlp_size=32
    )
    placed = Inference(config, bert.init_params(config, jax.random.key(0)))
    [found] = Substitutes(placed, tokenizer).of_texts([text])
    replaceable = [text[start:end] for start, end in cut_words(text) if text[start:end].isalpha()]
    expected = [word for word in replaceable if word.lower() not in STOP_WORDS]
    assert [text[word.start : word.end] for word in found] == expected
    whole = set(tokenizer.whole_words().values())
    assert all({word.lower() for word in one.substitutes} <= whole for one in found)


def test_white_space_that_is_a_token_is_no_part_of_a_word():
    """As byte-level BPE has it, whose offsets are cut to nothing."""
    spans_T2 = np.array([[0, 3], [4, 4], [4, 7], [7, 9], [9, 10]])
    [first, second] = _places(5, "fox\tplots.", spans_T2)
    assert first == (5, 0, 3, 0, 1) and second == (5, 4, 9, 2, 4)
    assert list(_places(5, "fox\tplots.", np.array([[0, 3], [4, 10]]))) == [first]  # a token across two words


def test_logits_of_other_places_are_not_computed():
    """[B, L, V] logits would be the largest array by far."""
    config = dataclasses.replace(
        PRESETS["bert-tiny"], vocab_size=50_000, hidden_size=32, num_heads=2, mlp_size=64
    )
    placed = Inference(config, bert.init_params(config, jax.random.key(0)), devices=jax.devices()[:1])
    rows = np.ones((4, 32), np.int32)
    program = placed._most_probable.lower(placed.params, rows, rows, rows, rows[:, :1], rows[0], count=3)
    assert program.compile().memory_analysis().temp_size_in_bytes < 4 * 32 * 50_000


def test_a_model_that_cannot_propose_is_one_line(model):
    params = {name: value for name, value in model.params.items() if name != "mlm_head"}
    head = HeadConfig(kind="classification", labels=("a", "b"))
    config = dataclasses.replace(model.config, head=head)
    with pytest.raises(UserError, match="no masked-language-model head"):
        Substitutes(Inference(config, params), model.tokenizer)
    with pytest.raises(UserError, match="candidates=0 must be >= 1"):
        substitutes(model, 0)


# ---------------------------------------------------------------------------------------------
# Copies of a text
# ---------------------------------------------------------------------------------------------

SLOTS = [Word(4, 8, ("one", "three")), Word(10, 14, ("x",)), Word(15, 16, ("long", "y", "z"))]
SENTENCE = "The film, plot\u3000a  end."


def test_everything_but_the_words_stays_and_no_copy_comes_twice():
    found = copies(SENTENCE, SLOTS, AugmentOptions(copies=1000), row=3)
    every = {
        f"The {a}, {b}\u3000{c}  end."
        for a in ("film", "one", "three")
        for b in ("plot", "x")
        for c in ("a", "long", "y", "z")
    }
    assert set(found) == every - {SENTENCE} and len(found) == len(every) - 1
    assert copies(SENTENCE, [], AugmentOptions(), row=0) == []
    assert copies("plot", [Word(0, 4, ("plot",))], AugmentOptions(probability=1.0), row=0) == []


def test_a_copy_depends_on_seed_row_text_and_its_number_alone():
    first = copies(SENTENCE, SLOTS, AugmentOptions(copies=6), row=1)
    assert copies(SENTENCE, SLOTS, AugmentOptions(copies=20), row=1)[: len(first)] == first
    others = [
        copies(SENTENCE, SLOTS, AugmentOptions(copies=6, seed=seed), row=row, part=part)
        for seed, row, part in ((1, 1, 0), (0, 2, 0), (0, 1, 1))
    ]
    assert all(other != first for other in others)


def test_words_are_replaced_as_often_as_asked_by_each_candidate_alike():
    many = 20_000
    words = [Word(0, 1, tuple(f"<{n}>" for n in range(5))), Word(2, 3, ("u", "v"))]
    counts = {"a": 0, "b": 0}
    for row in range(many):
        found = copies("a b", words, AugmentOptions(copies=1, probability=0.3), row=row) or ["a b"]
        for word in found[0].split():
            counts[word] = counts.get(word, 0) + 1
    for word, share in {
        "a": 0.7,
        "b": 0.7,
        "u": 0.15,
        "v": 0.15,
        **{f"<{n}>": 0.06 for n in range(5)},
    }.items():
        assert abs(counts[word] - many * share) < 4 * (many * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"copies": 0}, "copies=0 must be >= 1"),
        ({"probability": 0.0}, r"probability=0.0 must be in \(0, 1\]"),
        ({"probability": 1.5}, r"probability=1.5 must be in \(0, 1\]"),
        ({"seed": -1}, "seed=-1 must be >= 0"),
    ],
)
def test_options_out_of_their_range_are_one_line(options, rule):
    with pytest.raises(UserError, match=rule):
        AugmentOptions(**options)


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------

ROWS = [
    ("1", 'a "good" film', "slow music", "yes"),
    ("2", "it was in the", "bad plot, bad actor", "no"),
    ("3", TEXT, "", "yes"),
    ("4", "music", "story", "no"),
]
NAMES = ("id", "sentence1", "sentence2", "label")
OPTIONS = AugmentOptions(copies=5, seed=2)


def write(path, rows=ROWS, names=NAMES):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    elif path.suffix == ".tsv":
        path.write_text("".join("\t".join(row) + "\n" for row in (names, *rows)))
    else:
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([names, *rows])
    return path


def read(path):
    examples = read_texts(str(path), label="class", pair=True, keep_empty=True, labelled=True).examples
    return [(example.text, example.text_pair, example.label) for example in examples]


def expected_rows(model, rows=ROWS, options=OPTIONS):
    """One row at a time."""
    found = []
    for number, (name, *texts, label) in enumerate(rows):
        found.append((name, *texts, label))
        for part in (0, 1):
            [words] = substitutes(model).of_texts([texts[part]])
            for copy in copies(texts[part], words, options, row=number, part=part):
                pair = [copy, texts[1]] if part == 0 else [texts[0], copy]
                found.append((name, *pair, label))
    return found


@pytest.mark.parametrize("block", [1, 3, 256])
@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl"])
def test_each_row_is_followed_by_its_copies_whatever_the_block(ending, block, model, tmp_path, monkeypatch):
    monkeypatch.setattr(augment, "_ROWS", block)
    output = tmp_path / f"out{ending}"
    source = write(tmp_path / f"in{ending}")
    count = augment_file(substitutes(model), str(source), output, columns=Columns(), options=OPTIONS)
    expected = expected_rows(model)
    assert count == (len(ROWS), len(expected)) and len(expected) > 15
    plain = write(tmp_path / f"plain{ending}", expected)
    assert read(output) == read(plain)
    if ending != ".csv":
        assert [line for line in output.read_text().splitlines()] == [
            json.dumps(json.loads(line), ensure_ascii=False) if ending == ".jsonl" else line
            for line in plain.read_text().splitlines()
        ]
    for row in expected:
        original = ROWS[int(row[0]) - 1]
        assert row[1] == original[1] or row[2] == original[2]  # one changes while the other stays


def test_columns_by_number_keep_a_file_without_header(model, tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text("x\tgood film\t1\ny\tslow music\t0\textra\n")
    output = tmp_path / "out.tsv"
    augment_file(substitutes(model), str(source), output, columns=Columns(text="2"), options=OPTIONS)
    lines = [line.split("\t") for line in output.read_text().splitlines()]
    assert lines[0] == ["x", "good film", "1"] and ["y", "slow music", "0", "extra"] in lines
    assert all(line[2:] == (["1"] if line[0] == "x" else ["0", "extra"]) for line in lines) and len(lines) > 4


def test_fields_inside_objects_and_odd_characters_stay(model, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = {"data": {"a.b": {"text": "good film"}, "n": [1, None, 2.5]}, "label": True, "odd": "\ud800 é"}
    source.write_text(json.dumps(row) + "\n")
    columns = Columns(text="data")
    with pytest.raises(UserError, match="holds dict, must be text"):
        augment_file(substitutes(model), str(source), output, columns=columns)
    assert list(tmp_path.iterdir()) == [source]
    row["data"] = {"inner": {"text": "good film"}, "n": [1, None, 2.5]}
    source.write_text(json.dumps(row) + "\n")
    augment_file(
        substitutes(model), str(source), output, columns=Columns(text="data.inner.text"), options=OPTIONS
    )
    first, *others = map(json.loads, output.read_text().splitlines())
    assert first == row and others
    for other in others:
        assert other["data"]["inner"].pop("text") != "good film"
        assert other["data"] == {"inner": {}, "n": [1, None, 2.5]} and other["odd"] == row["odd"]


def test_csv_fields_with_quotes_and_line_ends_read_back(model, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    cells = ["a,b", 'say "film"\nplot', "c\rd", ""]
    with source.open("w", newline="") as stream:
        csv.writer(stream).writerows([["x", "text", "y", "label"], cells])
    augment_file(substitutes(model), str(source), output, columns=Columns(), options=OPTIONS)
    with output.open(newline="") as stream:
        header, first, *others = csv.reader(stream, strict=True)
    assert header == ["x", "text", "y", "label"] and first == cells and others
    assert all([row[0], *row[2:]] == ["a,b", "c\rd", ""] for row in others)
    assert all('"\n' in row[1] for row in others)


def test_what_cannot_be_augmented_is_one_line_and_leaves_no_file(model, tmp_path):
    source = write(tmp_path / "in.tsv")
    (tmp_path / "broken.tsv").write_text("sentence\tlabel\nfilm\t1\nfilm\n")
    (tmp_path / "in2.tsv").write_text(source.read_text())
    before = sorted(tmp_path.iterdir())
    found = substitutes(model)
    for name, output, columns, rule in (
        ("none.tsv", "out.tsv", {}, "no such file"),
        ("in.tsv", "out.csv", {}, r"the ending must be \.tsv"),
        ("in.tsv", "in.tsv", {}, "must be another file"),
        ("in*.tsv", "out.tsv", {}, "names 2 files, must be one"),
        ("in.tsv", "out.tsv", {"text": "review"}, "no column 'review'; it has: id, sentence1"),
        ("broken.tsv", "out.tsv", {}, "broken.tsv:3: 1 fields, must be 2"),
        ("in.tsv", "missing/out.tsv", {}, "missing/out.tsv: cannot be written"),
    ):
        with pytest.raises(UserError, match=rule):
            augment_file(found, str(tmp_path / name), tmp_path / output, columns=Columns(**columns))
    with pytest.raises(UserError, match=r"the format 'parquet' does not hold"):
        augment_file(found, f"parquet:{source}", tmp_path / "out.parquet", columns=Columns())
    assert sorted(tmp_path.iterdir()) == before
