"""Cleaning: the chunks of a block are its text, sentence by sentence, whatever the text is."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import CleaningConfig, DataConfig
from bert_jax.data.corpus import stage_files
from bert_jax.data.corpus.clean import Cleaned, clean
from bert_jax.data.sources.blocks import ValuesBlock
from bert_jax.errors import UserError
from bert_jax.text import sentences
from bert_jax.text.cleaning import clean_lines

DATA = DataConfig(path="x")

TEXTS = [
    "One sentence. Another one, by Dr. Who!\nA second line.",
    "",
    " \n\t\n",
    "word",
    "我们去。他们来了！ And English. 再见",
    "NUL \0 in\0side\r\nCR, tab\tand\u00a0no-break  space",
    "שלום עולם. مرحبا بالعالم. Right to left.",
    "e\u0301 composed? Yes. \U0001f468\u200d\U0001f469\u200d\U0001f467 too",
]


def block(texts: list[str], **fields) -> ValuesBlock:
    values = tuple(text.encode() for text in texts)
    return ValuesBlock(source=0, input=0, number=0, name="texts", first=0, values=values, **fields)


def expected(texts: list[str], data: DataConfig, cleaning: CleaningConfig) -> list[list[list[list[str]]]]:
    """Documents of lines of sentences of chunks, in plain Python."""
    cut = sentences.splitter(data.sentences)
    documents = []
    for text in texts:
        lines = clean_lines(text, cleaning, Counter())
        if lines and sum(map(len, lines)) >= cleaning.min_characters:
            parts = [[line[a:b] for a, b in itertools.pairwise([0, *cut(line), len(line)])] for line in lines]
            documents.append(
                [
                    [sentence[:1] + sentence[1:].replace(" ", "\n ") for sentence in line] for line in parts
                ]  # the first character is a space, which begins the first chunk, or not
            )
    return [[[s.split("\n") for s in line] for line in document] for document in documents]


def nested(cleaned: Cleaned) -> list[list[list[list[str]]]]:
    """The nested lists that `expected` gives."""

    def grouped(items: list, sizes: np.ndarray) -> list[list]:
        assert len(items) == sizes.sum()
        ends = np.cumsum(sizes)
        return [items[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]

    chunks = [cleaned.chunks[number] for number in cleaned.numbers]
    return grouped(grouped(grouped(chunks, cleaned.sentences), cleaned.lines), cleaned.documents)


@pytest.mark.parametrize("mode", ["rule", "line"])
@pytest.mark.parametrize("normalize", ["none", "nfc"])
def test_chunks_in_order_are_the_text(mode, normalize):
    data, cleaning = DataConfig(path="x", sentences=mode), CleaningConfig(normalize=normalize)
    cleaned = clean(block(TEXTS), data, cleaning)
    assert nested(cleaned) == expected(TEXTS, data, cleaning)
    assert cleaned.counts["documents_read"] == len(TEXTS)
    assert cleaned.counts["blank_documents"] == 2
    assert cleaned.counts["control_characters"] == 2  # the NULs


_ALPHABET = st.sampled_from([*"ab. !?\n\t。！", "\r\n", "Dr. ", " “A", "\0", "é", "e\u0301", "字"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(_ALPHABET, max_size=30).map("".join), max_size=6), st.sampled_from([0, 1, 5]))
def test_any_text_comes_back(texts, min_characters):
    cleaning = CleaningConfig(min_characters=min_characters)
    cleaned = clean(block(texts), DATA, cleaning)
    assert nested(cleaned) == expected(texts, DATA, cleaning)
    lines = [line for text in texts for line in clean_lines(text, cleaning, Counter())]
    if not min_characters:
        assert cleaned.characters.tolist() == [len(line) for line in lines]


def test_chunks_are_distinct_and_numbered_by_first_use():
    cleaned = clean(block(["a b a b c", "c b"]), DATA, CleaningConfig())
    assert cleaned.chunks == ["a", " b", " a", " c", "c"]
    assert cleaned.numbers.tolist() == [0, 1, 2, 1, 3, 4, 1]


def test_hashes_are_of_the_cleaned_text():
    cleaning = CleaningConfig(boilerplate_documents=2)
    cleaned = clean(block(["a  b\nc", "a b \n c", "a b c"]), DATA, cleaning)
    assert cleaned.document_hashes[0] == cleaned.document_hashes[1] != cleaned.document_hashes[2]
    assert cleaned.line_hashes[:2].tolist() == cleaned.line_hashes[2:4].tolist()
    digest = hashlib.blake2b(b"a b", digest_size=8).digest()
    assert int(cleaned.line_hashes[0]) == int.from_bytes(digest, "little")
    assert len(clean(block(["a"]), DATA, CleaningConfig()).line_hashes) == 0


def test_what_the_reader_left_out_is_counted():
    cleaned = clean(block(["a"], skipped={"too_long": 3}), DATA, CleaningConfig())
    assert cleaned.counts == {"documents_read": 1, "skipped_too_long": 3}


@pytest.mark.parametrize("texts", [TEXTS, [], [""]])
def test_a_saved_block_is_the_same(texts, tmp_path):
    cleaned = clean(block(texts), DATA, CleaningConfig(boilerplate_documents=2))
    cleaned.save(tmp_path / "block.npz")
    assert stage_files.is_sound(tmp_path / "block.npz")
    loaded = Cleaned.load(tmp_path / "block.npz")
    assert (loaded.chunks, loaded.counts) == (cleaned.chunks, cleaned.counts)
    for name in (
        "numbers",
        "sentences",
        "lines",
        "documents",
        "characters",
        "document_hashes",
        "line_hashes",
    ):
        assert getattr(loaded, name).dtype == getattr(cleaned, name).dtype
        assert getattr(loaded, name).tolist() == getattr(cleaned, name).tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "block.npz"]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:100] + bytes([d[100] ^ 1]) + d[101:], lambda d: b""]
)
def test_a_damaged_file_is_not_sound(tmp_path, damage):
    file = tmp_path / "block.npz"
    clean(block(TEXTS), DATA, CleaningConfig()).save(file)
    file.write_bytes(damage(file.read_bytes()))
    assert not stage_files.is_sound(file)
    assert not stage_files.is_sound(tmp_path / "absent.npz")


def test_text_that_is_not_utf8_names_its_place():
    bad = ValuesBlock(source=0, input=0, number=0, name="texts", first=7, values=(b"a\xff",))
    with pytest.raises(UserError, match=r"^texts:7: byte 0xff"):
        clean(bad, DATA, CleaningConfig())
