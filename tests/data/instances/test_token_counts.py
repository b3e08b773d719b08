"""Token counts of the training text."""

import collections

import numpy as np
import pytest

from bert_jax.data.corpus.shards import ShardWriter, TokenShards
from bert_jax.data.instances import token_counts
from bert_jax.data.instances.index import split_documents
from bert_jax.errors import UserError


@pytest.fixture
def corpus(tmp_path):
    """Documents of 1 to 700 tokens over two shards: (shards, ids of each document)."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 90, rng.integers(1, 700)) for _ in range(40)]
    writer = ShardWriter(tmp_path, vocab_size=100, shard_tokens=6000)
    for ids in documents:
        writer.add(ids, np.ones(len(ids), bool), np.array([len(ids)]), np.array([1]))
    special = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    writer.finish(vocab_size=100, special_ids=special, sources=[{"name": "x", "documents": 40}], counts={})
    return TokenShards.open(tmp_path), documents


@pytest.mark.parametrize("pieces", [3, 2**14])
@pytest.mark.parametrize("eval_fraction", [0.0, 0.2])
def test_counts_equal_a_plain_count(corpus, eval_fraction, pieces, monkeypatch):
    shards, documents = corpus
    assert len(shards.manifest["shards"]) > 1
    monkeypatch.setattr(token_counts, "_PIECES", pieces)
    held_out = set(split_documents(40, eval_fraction, "eval").tolist())
    plain = collections.Counter(
        int(token) for number, ids in enumerate(documents) if number not in held_out for token in ids
    )
    counts = token_counts.token_counts(shards, eval_fraction)
    assert counts.tolist() == [plain[token] for token in range(100)]


def test_counts_are_made_once_for_each_share_of_held_out_documents(corpus, monkeypatch):
    shards, _ = corpus
    first = token_counts.load_token_counts(shards, 0.2)
    assert first.tolist() == token_counts.token_counts(shards, 0.2).tolist()
    monkeypatch.setattr(token_counts, "token_counts", lambda *_: pytest.fail("counted again"))
    assert token_counts.load_token_counts(TokenShards.open(shards.folder), 0.2).tolist() == first.tolist()
    with pytest.raises(pytest.fail.Exception, match="counted again"):
        token_counts.load_token_counts(shards, 0.3)


@pytest.mark.parametrize("damage", ["empty", "PK", "cut", "flipped"])
def test_a_damaged_cache_is_made_again(corpus, damage):
    shards, _ = corpus
    first = token_counts.load_token_counts(shards, 0.0)
    [file] = (shards.folder / "index").glob("*.npz")
    content = file.read_bytes()
    flipped = content[:200] + bytes([content[200] ^ 1]) + content[201:]  # a bit of a count
    file.write_bytes({"empty": b"", "PK": b"PK\x03\x04", "cut": content[:-8], "flipped": flipped}[damage])
    assert token_counts.load_token_counts(shards, 0.0).tolist() == first.tolist()
    assert file.read_bytes() == content
    assert not list(file.parent.glob("*.partial"))


def test_a_cache_that_cannot_be_written_is_one_line(corpus):
    shards, _ = corpus
    (shards.folder / "index").write_text("a file where the folder should be")
    with pytest.raises(
        UserError, match=r"token-counts-\w+\.npz cannot be made: .*; make the folder writable"
    ):
        token_counts.load_token_counts(shards, 0.0)
