"""Opening a prepared corpus."""

from bert_jax.data.corpus.prepare import open_corpus

__all__ = ["open_corpus"]
