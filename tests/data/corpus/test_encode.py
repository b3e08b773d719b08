"""Encoding chunk by chunk is encoding the text."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from bert_jax.config import CleaningConfig, DataConfig, TokenizerConfig
from bert_jax.data.corpus.clean import clean
from bert_jax.data.corpus.dedup import select
from bert_jax.data.corpus.encode import ChunkEncoder, Encoded, encode
from bert_jax.data.sources.blocks import ValuesBlock
from bert_jax.errors import UserError
from bert_jax.text import tokenizer
from bert_jax.text.vocabulary import count_chunks

TEXTS = [
    "The cat, the dog and the [MASK]. Don't they like it? They do!\nAnother line of the text.",
    "\u0301",  # an accent alone is no token for an uncased vocabulary
    "我们去。他们来。 Über-text with the Ω.",
    "The end.\nThe end of it.",
]


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def vocabulary(request) -> tokenizer.Tokenizer:
    if request.param == "unigram":
        pytest.importorskip("sentencepiece", reason="Unigram is trained by the sentencepiece package")
    config = TokenizerConfig(kind=request.param, vocab_size=400)
    return tokenizer.train(count_chunks(line for text in TEXTS for line in text.split("\n")), config)


def encoded(texts: list[str], encoder: ChunkEncoder, *, name: str = "v") -> Encoded:
    values = tuple(text.encode() for text in texts)
    block = ValuesBlock(source=0, input=0, number=0, name="x", first=0, values=values)
    cleaned = clean(block, DataConfig(path="x", sentences="line"), CleaningConfig())
    kept = select(cleaned, np.ones(len(cleaned.documents), bool), np.zeros(0, np.uint64), min_characters=0)
    return encode(cleaned.chunks, kept, encoder, name=name)


def test_the_ids_are_those_of_each_whole_line(vocabulary):
    found = encoded(TEXTS, ChunkEncoder(vocabulary))
    documents = [[vocabulary.encode(line) for line in text.split("\n")] for text in TEXTS]
    left = [[ids for ids in document if ids] for document in documents]
    assert found.ids.tolist() == [token for document in left for ids in document for token in ids]
    assert found.sentences.tolist() == [len(ids) for document in left for ids in document]
    assert found.documents.tolist() == [len(document) for document in left if document]
    assert found.counts["empty_documents"] == left.count([])
    assert found.counts["unknown"] == found.ids.tolist().count(vocabulary.special.unk)
    assert found.ids.dtype == np.uint16
    lines = [line for text in TEXTS for line in text.split("\n")]
    starts = [vocabulary.encode_chunks([line]).word_starts for line in lines]
    assert found.word_starts.tolist() == np.concatenate(starts).tolist()


def test_a_word_that_vanishes_is_no_fault_of_the_vocabulary(vocabulary):
    found = encoded(["The \u0301 \u0301 end. \u0301"], ChunkEncoder(vocabulary))
    assert set(vocabulary.encode("The end.")) <= set(found.ids.tolist())


def test_what_was_met_before_changes_nothing(vocabulary, tmp_path):
    fresh = [encoded([text], ChunkEncoder(vocabulary)) for text in TEXTS]
    for most in (0, 3, 10**6):
        one = ChunkEncoder(vocabulary, most=most)
        for text, expected in zip([*TEXTS, *TEXTS], [*fresh, *fresh], strict=True):
            found = encoded([text], one)
            for name in ("ids", "word_starts", "sentences", "documents"):
                assert getattr(found, name).tolist() == getattr(expected, name).tolist()


def test_a_saved_block_is_the_same(vocabulary, tmp_path):
    found = encoded(TEXTS, ChunkEncoder(vocabulary))
    found.save(tmp_path / "block.npz")
    loaded = Encoded.load(tmp_path / "block.npz")
    assert loaded.counts == found.counts
    for name in ("ids", "word_starts", "sentences", "documents"):
        assert getattr(loaded, name).dtype == getattr(found, name).dtype
        assert getattr(loaded, name).tolist() == getattr(found, name).tolist()


def test_a_vocabulary_with_tokens_over_spaces_is_refused():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = {piece: i for i, piece in enumerate([*special, "a", " ", "a a"])}
    backend = tokenizers.Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", continuing_subword_prefix=""))
    backend.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    backend.add_special_tokens(special)
    with pytest.raises(
        UserError, match=r"^config\.tokenizer\.path='v': encodes 'a a a' otherwise than word by word"
    ):
        encoded(["a a a"], ChunkEncoder(tokenizer.Tokenizer(backend)))
