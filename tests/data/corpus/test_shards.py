"""Token shards: what is written is what is read, and damage never passes for data."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.corpus.shards import ShardWriter, TokenShards
from bert_jax.errors import UserError

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}

Documents = list[list[list[int]]]


def add(writer: ShardWriter, documents: Documents) -> None:
    """Whole documents, as a block; a token begins a word if its id is even."""
    left = kept(documents)
    ids = np.array(flat(left), np.uint32)
    sentences = np.array([len(ids) for document in left for ids in document], np.int64)
    writer.add(ids, ids % 2 == 0, sentences, np.array([len(document) for document in left], np.int64))


def write(
    folder: Path, documents: Documents, *, vocab_size: int = 500, shard_tokens: int = 50
) -> TokenShards:
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, vocab_size=vocab_size, shard_tokens=shard_tokens) as writer:
        for document in documents:
            add(writer, [document])
        finish(writer, len(kept(documents)), vocab_size=vocab_size)
    return TokenShards.open(folder)


def finish(writer: ShardWriter, documents: int, *, vocab_size: int = 500) -> None:
    writer.finish(
        vocab_size=vocab_size,
        special_ids=SPECIAL,
        sources=[{"name": "test", "documents": documents}],
        counts={"characters": 7},
        text={"source": "test"},
    )


def drawn(seed: int, *, documents: int = 30, vocab_size: int = 500) -> Documents:
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, vocab_size, rng.integers(0, 12)).tolist() for _ in range(rng.integers(1, 6))]
        for _ in range(documents)
    ]


def kept(documents: Documents) -> Documents:
    """What a corpus holds: empty sentences and documents are left out."""
    return [sentences for document in documents if (sentences := [ids for ids in document if ids])]


def flat(documents: Documents) -> list[int]:
    return [token for document in documents for ids in document for token in ids]


def read(shards: TokenShards) -> Documents:
    """Every document, through the public boundaries and one-token-at-a-time gathering."""
    starts = np.arange(shards.manifest["counts"]["tokens"])
    tokens = shards.gather(starts, np.ones_like(starts), 1)[:, 0].tolist()
    sentences = [tokens[a:b] for a, b in itertools.pairwise(shards.sentence_starts)]
    return [sentences[a:b] for a, b in itertools.pairwise(shards.document_starts)]


def damage(file: Path, *, offset: int = -1) -> None:
    """Flips one bit, keeping the size."""
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(bytes(data))


# ---------------------------------------------------------------------------------------------
# Round trip
# ---------------------------------------------------------------------------------------------

_DOCUMENTS = st.lists(
    st.lists(st.lists(st.integers(0, 499), max_size=5), min_size=1, max_size=4), min_size=1, max_size=12
).filter(lambda documents: any(flat([document]) for document in documents))


@settings(max_examples=40, deadline=None)
@given(documents=_DOCUMENTS, shard_tokens=st.integers(1, 40))
def test_documents_come_back_whatever_the_size_of_a_shard(tmp_path_factory, documents, shard_tokens):
    folder = tmp_path_factory.mktemp("shards")
    shards = write(folder, documents, shard_tokens=shard_tokens)
    assert read(shards) == kept(documents)
    assert shards.manifest["counts"]["documents"] == len(kept(documents))
    assert shards.manifest["counts"]["sentences"] == sum(map(len, kept(documents)))
    assert shards.manifest["counts"]["tokens"] == len(flat(documents))
    shards.verify()


def test_a_corpus_is_cut_into_shards_between_documents(tmp_path):
    documents = kept(drawn(1))
    shards = write(tmp_path, documents, shard_tokens=50)
    counts = [entry["tokens"]["count"] for entry in shards.manifest["shards"]]
    assert len(counts) > 5
    assert all(count >= 50 for count in counts[:-1])
    ends = set(np.cumsum([len(flat([document])) for document in documents]).tolist())
    assert set(np.cumsum(counts).tolist()) <= ends


def test_reading_a_changed_corpus_is_seen_by_the_round_trip(tmp_path):
    documents = kept(drawn(2))
    shards = write(tmp_path, documents)
    damage(tmp_path / "tokens-00001.npy")
    assert read(shards) != documents


def test_manifest_keeps_what_the_caller_says_and_special_ids(tmp_path):
    shards = write(tmp_path, drawn(3))
    assert shards.manifest["text"] == {"source": "test"}
    assert shards.vocab_size == 500
    assert vars(shards.special) == SPECIAL


# ---------------------------------------------------------------------------------------------
# Gathering
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_tokens", [50, 10**6], ids=["several shards", "one shard"])
def test_gathering_equals_slicing(tmp_path, shard_tokens):
    documents = kept(drawn(4, documents=60))
    shards = write(tmp_path, documents, shard_tokens=shard_tokens)
    tokens = flat(documents)
    bounds = np.cumsum([0] + [len(flat([document])) for document in documents])
    rng = np.random.default_rng(0)
    document = rng.integers(0, len(documents), 300)
    starts = rng.integers(bounds[document], bounds[document + 1])
    lengths = rng.integers(0, bounds[document + 1] - starts + 1)
    width = int(lengths.max()) + 3
    out = shards.gather(starts, lengths, width)
    assert out.dtype == np.int32
    assert out.shape == (300, width)
    for row, start, length in zip(out, starts, lengths, strict=True):
        assert row[:length].tolist() == tokens[start : start + length]


@pytest.mark.parametrize("shard_tokens", [50, 10**6], ids=["several shards", "one shard"])
@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 200])
def test_word_starts_are_gathered_bit_by_bit(tmp_path, shard_tokens, width):
    documents = kept(drawn(4, documents=60))
    shards = write(tmp_path, documents, shard_tokens=shard_tokens)
    ids = np.array(flat(documents))
    ends = np.cumsum([len(flat([document])) for document in documents])
    starts = np.arange(len(ids))
    lengths = np.minimum(ends[np.searchsorted(ends, starts, side="right")] - starts, width)
    out = shards.gather_words(starts, lengths, width)
    assert out.dtype == bool
    assert out.shape == (len(ids), width)
    for row, start, length in zip(out, starts, lengths, strict=True):
        assert row[:length].tolist() == (ids[start : start + length] % 2 == 0).tolist()


def test_blocks_of_any_size_give_the_same_corpus(tmp_path):
    documents = drawn(10)
    one = write(tmp_path / "one", documents, shard_tokens=10**6)
    (tmp_path / "all").mkdir()
    writer = ShardWriter(tmp_path / "all", vocab_size=500)
    add(writer, documents[:17])
    add(writer, [])
    add(writer, documents[17:])
    finish(writer, len(kept(documents)))
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == ["documents.npy", "manifest.json", "sentences.npy", "tokens-00000.npy", "words-00000.npy"]
    for name in names:
        assert (tmp_path / "all" / name).read_bytes() == (one.folder / name).read_bytes()


def test_gathering_reaches_the_last_token_and_nothing_at_all(tmp_path):
    documents = kept(drawn(5))
    shards = write(tmp_path, documents)
    count = len(flat(documents))
    last = shards.gather(np.array([count - 1]), np.array([1]), 9)
    assert last[0, 0] == flat(documents)[-1]
    assert shards.gather_words(np.array([count - 1]), np.array([1]), 9)[0, 0] == (last[0, 0] % 2 == 0)
    nothing = np.zeros(0, np.int64)
    assert (
        shards.gather(nothing, nothing, 4).shape == shards.gather_words(nothing, nothing, 4).shape == (0, 4)
    )


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2**16 - 1, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")]
)
def test_the_type_on_disk_holds_the_largest_id(tmp_path, vocab_size, dtype):
    documents = [[[0, vocab_size - 1], [vocab_size // 2]]]
    shards = write(tmp_path, documents, vocab_size=vocab_size)
    assert np.load(tmp_path / "tokens-00000.npy").dtype == dtype
    assert read(shards) == documents


# ---------------------------------------------------------------------------------------------
# Identity
# ---------------------------------------------------------------------------------------------


def test_equal_content_has_equal_digests_and_other_content_others(tmp_path):
    documents = drawn(6)
    digest = write(tmp_path / "a", documents).digest
    assert write(tmp_path / "b", documents).digest == digest
    assert write(tmp_path / "c", documents, vocab_size=501).digest != digest
    moved = [[[*documents[0][0], 7], *documents[0][1:]], *documents[1:]]
    assert write(tmp_path / "d", moved).digest != digest
    cut = [[[1, 2], [3]]], [[[1], [2, 3]]], [[[1, 2]], [[3]]]
    assert len({write(tmp_path / f"e{n}", same_tokens).digest for n, same_tokens in enumerate(cut)}) == 3


# ---------------------------------------------------------------------------------------------
# Damage
# ---------------------------------------------------------------------------------------------

_AGAIN = r"run `bert-jax prepare` with this config again$"
_FILES = ["tokens-00001.npy", "words-00001.npy", "sentences.npy", "documents.npy"]


@pytest.mark.parametrize("name", _FILES)
def test_a_truncated_file_is_refused_on_opening(tmp_path, name):
    write(tmp_path, drawn(7))
    file = tmp_path / name
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"{name} has {size - 3} bytes, must have {size}; {_AGAIN}"):
        TokenShards.open(tmp_path)


@pytest.mark.parametrize("name", _FILES)
def test_a_missing_file_is_refused_on_opening(tmp_path, name):
    write(tmp_path, drawn(7))
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing, must have \d+; {_AGAIN}"):
        TokenShards.open(tmp_path)


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("offset", [-1, 0, 128])
def test_a_flipped_bit_is_found_by_verify(tmp_path, name, offset):
    shards = write(tmp_path, drawn(8))
    shards.verify()
    damage(tmp_path / name, offset=offset)
    with pytest.raises(UserError, match=rf"{name}: checksum \d+ must be \d+; {_AGAIN}"):
        TokenShards.open(tmp_path).verify()


def test_another_format_is_refused(tmp_path):
    write(tmp_path, drawn(9))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match=rf"manifest\.json: format 99 must be 2; {_AGAIN}"):
        TokenShards.open(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path):
    write(tmp_path, drawn(9))
    (tmp_path / "manifest.json").write_text('{"format": 1')
    with pytest.raises(UserError, match=rf"manifest\.json: not JSON \(.*\): {_AGAIN}"):
        TokenShards.open(tmp_path)


def test_a_folder_without_a_manifest_is_no_corpus(tmp_path):
    write(tmp_path, drawn(9))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"^no prepared corpus at .*: there is no manifest\.json$"):
        TokenShards.open(tmp_path)


def test_the_manifest_is_written_last(tmp_path):
    with ShardWriter(tmp_path, vocab_size=10, shard_tokens=2) as writer:
        add(writer, [[[1, 2, 3]]])
        add(writer, [[[4, 5, 6]]])
    assert len(list(tmp_path.glob("tokens-*.npy"))) == 2
    assert not (tmp_path / "manifest.json").exists()


def test_files_of_the_vocabulary_are_checked(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    shards = write(tmp_path, drawn(11))
    shards.verify_vocabulary()
    damage(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer\.json: checksum"):
        TokenShards.open(tmp_path).verify_vocabulary()
