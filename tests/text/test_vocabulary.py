"""Training: exact sizes, whole words first, and the same vocabulary in every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from bert_jax.config import TokenizerConfig
from bert_jax.errors import UserError
from bert_jax.text import kinds, sentencepiece_model, vocabulary
from bert_jax.text.tokenizer import SpecialIds, train
from bert_jax.text.vocabulary import count_chunks
from tests.text.samples import KINDS, TEXTS, entries, pieces, skip_unless_trainable, trained, words_from

ROOT = Path(__file__).parents[2]


def test_chunks_are_cut_before_every_space():
    assert count_chunks([" a  b\ta b", "", "b"]) == {"a": 1, " b": 2, " a": 1, "b": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_vocabulary_has_the_size_asked_for_and_the_special_tokens_first(kind):
    for size in (400, 413, 2000):
        vocabulary = trained(size, kind=kind)
        assert vocabulary.vocab_size == vocabulary.backend.get_vocab_size() == size
        assert len(set(entries(vocabulary))) == size
    special = list(kinds.SPECIAL[kind].values())
    if kind == "bpe":
        assert [*entries(vocabulary)[:4], entries(vocabulary)[-1]] == special
        assert vocabulary.special == SpecialIds(cls=0, pad=1, sep=2, unk=3, mask=1999)
    else:
        assert entries(vocabulary)[:5] == special
        assert vocabulary.special == SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


@pytest.mark.parametrize("kind", KINDS)
def test_entries_that_the_corpus_cannot_fill_are_named_unused(kind):
    learned = entries(trained(2000, kind=kind))
    learned = learned[:-1] if kind == "bpe" else learned
    unused = [entry for entry in learned if "unused" in entry]
    assert 0 < len(unused) < 2000
    assert learned[-len(unused) :] == kinds.unused(kind, len(unused))
    word = {"wordpiece": "jumped", "bpe": "Ġjumped", "unigram": "▁jump"}[kind]
    assert word in learned  # whole words come before the filling


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_small_for_the_alphabet_says_how_many_it_needs(kind):
    skip_unless_trainable(kind)

    def of_size(size):
        return train(count_chunks(TEXTS), TokenizerConfig(kind=kind, vocab_size=size))

    with pytest.raises(UserError, match=r"^config\.tokenizer\.vocab_size=20 must be >= (\d+): ") as e:
        of_size(20)
    assert "\n" not in str(e.value)
    needed = int(str(e.value).split(">= ")[1].split(":")[0])
    assert of_size(needed).vocab_size == needed
    with pytest.raises(UserError, match=f"must be >= {needed}"):
        of_size(needed - 1)


def test_frequent_words_become_one_piece_and_rare_ones_several():
    vocabulary = trained(120, texts=["jumping " * 50 + "zebra"])
    assert pieces(vocabulary, "jumping") == ["jumping"]
    rare = pieces(trained(60, texts=["jumping " * 50 + "gnu"]), "pingu")
    assert len(rare) > 1 and all(piece.startswith("##") for piece in rare[1:])


def test_special_tokens_in_the_corpus_are_learned_as_the_plain_text_they_are_encoded_as():
    learned = entries(trained(300, texts=["The [MASK] and the [SEP] stand [PAD] here."]))[5:]
    assert [entry for entry in learned if "[" in entry and not entry.startswith("[unused")] == ["["]
    assert {"mask", "sep"} <= set(learned)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_no_special_or_unused_token_is_learned_from_text_that_spells_it(kind):
    texts = ["see <s> and </s> or <pad> <mask> [CLS] [SEP] [unused0] <unused0>, Ω"] * 50
    vocabulary = trained(450, kind=kind, lowercase=False, texts=texts)
    ordinary = set(vocabulary.ordinary_ids().tolist())
    assert set(vocabulary.encode(texts[0])) <= ordinary


@pytest.mark.parametrize("kind", KINDS)
def test_counts_weigh_and_their_order_does_not(kind):
    skip_unless_trainable(kind)
    counts = count_chunks([" ".join(words_from("abcdefgh", count=300))])
    config = TokenizerConfig(kind=kind, vocab_size=420, lowercase=False)
    reference = train(counts, config).backend.to_str()
    assert train(dict(reversed(counts.items())), config).backend.to_str() == reference
    assert train(counts | {" hagfed": 500}, config).backend.to_str() != reference


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_training_on_counts_is_training_on_the_text(kind):
    """The library fed with the lines themselves learns the same merges."""
    lines = [" ".join(words_from("abcdefghij.", count=400, seed=seed)) for seed in range(3)]
    config = TokenizerConfig(kind=kind, vocab_size=420, lowercase=False)

    def feed_lines(backend, trainer, ordered, config):
        backend.train_from_iterator(lines, trainer)

    ours = train(count_chunks(lines), config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_train", feed_lines)
        theirs = train(count_chunks(lines), config)
    assert ours.backend.to_str() == theirs.backend.to_str()


def test_beyond_training_words_all_counts_are_scaled_down():
    fed = []

    class Backend:
        def train_from_iterator(self, strings, trainer):
            fed.extend(strings)

    counts = {" often": 900, " seldom": 99, "First": 1}
    vocabulary._train(Backend(), None, sorted(counts.items()), TokenizerConfig(training_words=100))
    words = Counter(word for text in fed for word in text.split())
    assert words == {"often": 90, "seldom": 10, "First": 1}
    assert "First" in fed  # begins its string, as it began its line


def _unigram_pieces(counts, config):
    """What the trainer gave, as a SentencePieceProcessor, and the tokenizer made of it."""
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="Unigram is trained by the sentencepiece package"
    )
    models = []

    def parse(message):
        models.append(message)
        return read(message)

    read = sentencepiece_model.parse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentencepiece_model, "parse", parse)
        ours = train(counts, config)
    return sentencepiece.SentencePieceProcessor(model_proto=models[0]), ours


@pytest.mark.parametrize("lowercase", [True, False])
def test_unigram_cuts_words_as_the_sentencepiece_model_it_came_from(lowercase):
    printable = "".join(map(chr, range(0x21, 0x7F)))  # all of it, so that none of its pieces had to make room
    counts = count_chunks([printable, *TEXTS, " ".join(words_from("abcdefgABC.,é", count=2000))])
    theirs, ours = _unigram_pieces(
        counts, TokenizerConfig(kind="unigram", vocab_size=500, lowercase=lowercase)
    )
    learned = {theirs.id_to_piece(i): theirs.get_score(i) for i in range(1, theirs.get_piece_size())}
    assert set(learned) == set(entries(ours)) - set(kinds.SPECIAL["unigram"].values())
    assert not [piece for piece in learned if "▁" in piece[1:]]
    for chunk in counts:
        (word, _), *rest = ours.backend.pre_tokenizer.pre_tokenize_str(
            ours.backend.normalizer.normalize_str(chunk)
        )
        cut, expected = pieces(ours, chunk), theirs.encode(word, out_type=str)
        assert not rest and "".join(cut) == "".join(expected) == word
        # Not piece by piece: of ways that are equally probable, each library takes its own.
        assert sum(map(learned.get, cut)) == pytest.approx(sum(map(learned.get, expected)), abs=1e-4)


def test_no_unigram_piece_mixes_letters_with_digits_or_punctuation():
    # A word becomes a piece where the corpus has it before different characters.
    texts = ["“so,” so. so 2nd 3rd, (nd) ... 19 1999, 1999. हिन्दी, हिन्दी"] * 50
    learned = entries(trained(600, kind="unigram", lowercase=False, texts=texts))[5:]
    assert {"▁so", "so", "nd", "▁1999", "▁हिन्दी"} <= set(learned)
    ordinary = [piece for piece in learned if not kinds.UNUSED.fullmatch(piece)]
    assert not [p for p in ordinary if any(c.isalpha() for c in p) and any(c in "“,”.()1239" for c in p)]


@pytest.mark.parametrize(
    "counts",
    [{}, {"a": 1}, {"▁": 5, "▅": 3, "a▅b": 2, "x\0y": 4, " <unk>": 9}, {"ab" * 3000: 1}, {" the": 10**12}],
    ids=["nothing", "one", "reserved characters", "one long word", "a large count"],
)
def test_unigram_takes_any_chunks(counts):
    skip_unless_trainable("unigram")
    learned = train(counts, TokenizerConfig(kind="unigram", vocab_size=300, training_words=100_000))
    assert learned.vocab_size == 300
    assert {"▁", "a", "~"} <= set(entries(learned))


def test_unigram_learns_from_counts_scaled_down_to_training_words():
    def with_counts(factor, **options):
        scaled = {chunk: n * factor for chunk, n in counts.items()}
        return entries(train(scaled, TokenizerConfig(kind="unigram", vocab_size=300, **options)))

    skip_unless_trainable("unigram")
    counts = count_chunks([" ".join(words_from("abcd", count=500))])
    assert with_counts(1000, training_words=500) == with_counts(1) != with_counts(1000)


def test_a_character_outside_of_the_alphabet_cuts_its_word():
    backend = kinds.unigram([], lowercase=True)
    words = vocabulary._words([(" abΩcd", 3), (" CD▅", 1)], backend, set("▁abcd▅"))
    assert words == [("cd", 3), ("▁ab", 3), ("▁cd", 1)]


def test_unigram_without_sentencepiece_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"^config\.tokenizer\.kind='unigram' .*\[sentencepiece\]'") as caught:
        train({" a": 1}, TokenizerConfig(kind="unigram", vocab_size=300))
    assert "\n" not in str(caught.value)


_PROGRAM = """
import sys
from bert_jax.config import TokenizerConfig
from bert_jax.text.tokenizer import train
from bert_jax.text.vocabulary import count_chunks
from tests.text.samples import TEXTS, words_from
counts = count_chunks([*TEXTS, " ".join(words_from("abcdefghijklmnopqrstéü.,数", count=3000))])
for kind in sys.argv[1:]:
    config = TokenizerConfig(kind=kind, vocab_size=600)
    print(kind, train(dict.fromkeys(set(counts), 1) | counts, config).backend.to_str())
"""


def test_every_process_learns_the_same_vocabulary():
    found = [kind for kind in KINDS if kind != "unigram" or find_spec("sentencepiece")]

    def run(seed):
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        program = [sys.executable, "-c", _PROGRAM, *found]
        return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    answers = [process.communicate() for process in [run(1), run(2)]]
    assert answers[0][0], answers[0][1].decode()
    digests = {kind: hashlib.md5(text).hexdigest() for kind, text in _by_kind(answers[0][0])}
    assert digests == {kind: hashlib.md5(text).hexdigest() for kind, text in _by_kind(answers[1][0])}
    assert len(digests) == len(found)


def _by_kind(output):
    return [line.partition(b" ")[::2] for line in output.splitlines()]
