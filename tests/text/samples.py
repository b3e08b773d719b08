"""Small texts, and the three kinds of tokenizer trained on them, shared by this folder's tests."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable

import pytest

from bert_jax.config import TokenizerConfig
from bert_jax.text.tokenizer import Tokenizer, train
from bert_jax.text.vocabulary import count_chunks

KINDS = ("wordpiece", "bpe", "unigram")
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dogs jumped over the foxes.",
    "Élan vital! The naïve café keeps a jumping, jumpy, overjoyed crowd.",
    "数学 is mathematics; 2 + 2 = 4, said [MASK] to [SEP].",
)
HARD = (
    *TEXTS,
    "Unseen Words, naïvely JUMPED!",
    "数学数学。 it's can't 1234.5",
    "[PAD] [MASK] x[SEP] <s> <mask></s> <pad> [unused0] <unused0>",
    "🦊 \u202bעברית\u202c a\u0301 ﬁx “quoted” ``so'' ´",
)


def skip_unless_trainable(kind: str) -> None:
    if kind == "unigram":
        pytest.importorskip("sentencepiece", reason="Unigram is trained by the sentencepiece package")


def trained(
    vocab_size: int = 150, *, kind="wordpiece", lowercase=True, texts: Iterable[str] = TEXTS
) -> Tokenizer:
    """Of 400 entries at least where the kind's alphabet alone needs more than 150."""
    skip_unless_trainable(kind)
    size = vocab_size if kind == "wordpiece" else max(vocab_size, 400)
    return _trained(size, kind, lowercase, tuple(texts))


@functools.cache
def _trained(vocab_size, kind, lowercase, texts):
    config = TokenizerConfig(kind=kind, vocab_size=vocab_size, lowercase=lowercase)
    return train(count_chunks(texts), config)


def entries(vocabulary: Tokenizer) -> list[str]:
    return [vocabulary.token(index) for index in range(vocabulary.vocab_size)]


def pieces(vocabulary: Tokenizer, text: str, **options) -> list[str]:
    return [vocabulary.token(index) for index in vocabulary.encode(text, **options)]


def words_from(letters: str, *, count: int, seed: int = 5) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(count)]
