"""Instance indexes: the published algorithms, against a second version that works on lists of sentences.

Every token of a test corpus is another number, so equal tokens are equal places.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import DataConfig, resolve
from bert_jax.data.instances import build_index, load_index, split_documents
from bert_jax.data.shards import ShardWriter, TokenShards
from bert_jax.errors import UserError

Document = list[list[int]]
Row = tuple[list[int], list[int], int]

OBJECTIVES = ("none", "nsp", "sop")


def numbered(lengths: list[list[int]]) -> list[Document]:
    """Documents whose sentences have these lengths and whose tokens count 0, 1, 2, ..."""
    numbers = iter(range(10**9))
    return [[[next(numbers) for _ in range(length)] for length in document] for document in lengths]


def random_lengths(seed: int, *, documents: int, sentences: int = 12, longest: int = 30) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randint(1, longest) for _ in range(rng.randint(1, sentences))] for _ in range(documents)]


def write(folder: Path, documents: list[Document], *, shard_tokens: int = 200) -> TokenShards:
    folder.mkdir(parents=True, exist_ok=True)
    size = max(token for document in documents for ids in document for token in ids) + 1
    writer = ShardWriter(folder, vocab_size=max(size, 2**17), shard_tokens=shard_tokens)
    for document in documents:
        writer.add(document)
    special = dict.fromkeys(("pad", "unk", "cls", "sep", "mask"), 0)
    writer.finish(vocab_size=max(size, 2**17), special_ids=special)
    return TokenShards.open(folder)


def settings_of(objective: str, *, length: int = 24, short: float = 0.1, held_out: float = 0.0) -> DataConfig:
    return DataConfig(
        sentence_objective=objective,
        sequence_length=length,
        short_sequence_probability=short,
        eval_fraction=held_out,
    )


def rows_of(shards: TokenShards, index: np.ndarray) -> list[Row]:
    """The tokens of every row, gathered."""
    width = int(max(index["a_length"].max(), index["b_length"].max(), 1))
    a, b = (shards.gather(index[f"{s}_start"], index[f"{s}_length"], width) for s in "ab")
    return [
        (x[:n].tolist(), y[:m].tolist(), int(label))
        for x, n, y, m, label in zip(a, index["a_length"], b, index["b_length"], index["label"], strict=True)
    ]


# ---------------------------------------------------------------------------------------------
# The second version: BERT's create_instances_from_document on lists, and its two relatives
# ---------------------------------------------------------------------------------------------


def pieces(document: Document, longest: int) -> Document:
    """Sentences with what does not fit in a row cut off into sentences of its own."""
    return [ids[at : at + longest] for ids in document for at in range(0, len(ids), longest)]


def aim(longest: int, short: float, rng: random.Random) -> int:
    return rng.randint(2, longest) if rng.random() < short else longest


def truncate(a: list[int], b: list[int], longest: int, rng: random.Random) -> None:
    while len(a) + len(b) > longest:
        victim = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del victim[0]
        else:
            victim.pop()


def joined(sentences: Document) -> list[int]:
    return [token for ids in sentences for token in ids]


def plain_nsp(documents: list[Document], length: int, short: float, rng, sizes: list[int]) -> Iterator[Row]:
    """Also notes the sentences of each chunk in `sizes`."""
    longest = length - 3
    for number, document in enumerate(documents):
        target = aim(longest, short, rng)
        chunk: Document = []
        i = 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or len(joined(chunk)) >= target:
                sizes.append(len(chunk))
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a, b = joined(chunk[:a_end]), []
                if len(chunk) == 1 or rng.random() < 0.5:
                    label = 1
                    others = [other for n, other in enumerate(documents) if n != number]
                    other = others[rng.randrange(len(others))]
                    for ids in other[rng.randint(0, len(other) - 1) :]:
                        b.extend(ids)
                        if len(b) >= target - len(a):
                            break
                    i -= len(chunk) - a_end  # put the unused sentences back
                else:
                    label = 0
                    b.extend(joined(chunk[a_end:]))
                truncate(a, b, longest, rng)
                yield a, b, label
                chunk = []
            i += 1


def plain_sop(documents: list[Document], length: int, short: float, rng, sizes: list[int]) -> Iterator[Row]:
    longest = length - 3
    for document in documents:
        target = aim(longest, short, rng)
        chunk: Document = []
        for i, ids in enumerate(document):
            chunk.append(ids)
            if i < len(document) - 1 and len(joined(chunk)) < target:
                continue
            sizes.append(len(chunk))
            if len(chunk) == 1:
                yield joined(chunk), [], -1
            else:
                a_end = rng.randint(1, len(chunk) - 1)
                a, b = joined(chunk[:a_end]), joined(chunk[a_end:])
                swapped = rng.random() < 0.5
                if swapped:
                    a, b = b, a
                truncate(a, b, longest, rng)
                yield a, b, int(swapped)
            chunk = []


def plain_none(documents: list[Document], length: int, short: float, rng, sizes: list[int]) -> Iterator[Row]:
    for document in documents:
        target = aim(length - 2, short, rng)
        row: Document = []
        for ids in document:
            if row and len(joined(row)) + len(ids) > target:
                sizes.append(len(row))
                yield joined(row), [], -1
                row = []
            row.append(ids)
        sizes.append(len(row))
        yield joined(row), [], -1


def expected(documents: list[Document], data: DataConfig, seed: int) -> tuple[list[Row], list[int]]:
    """The rows, and the sentences of the chunk behind each."""
    build = {"nsp": plain_nsp, "sop": plain_sop, "none": plain_none}[data.sentence_objective]
    cut = [pieces(document, data.sequence_length - 3) for document in documents]
    sizes: list[int] = []
    rng = random.Random(seed)
    return list(build(cut, data.sequence_length, data.short_sequence_probability, rng, sizes)), sizes


# ---------------------------------------------------------------------------------------------
# Ours = the plain version
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("length", "short"), [(24, 0.1), (48, 0.5), (12, 0.0), (8, 1.0)])
def test_the_index_equals_the_plain_algorithm(tmp_path, objective, seed, length, short):
    documents = numbered(random_lengths(seed, documents=25))
    data = settings_of(objective, length=length, short=short)
    shards = write(tmp_path, documents)
    assert len(shards.manifest["shards"]) > 3
    ours = rows_of(shards, build_index(shards, data, "train", seed=seed))
    assert ours == expected(documents, data, seed)[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_split_is_indexed_as_if_its_documents_were_the_corpus(tmp_path, objective, split):
    documents = numbered(random_lengths(1, documents=20))
    data = settings_of(objective, held_out=0.3)
    shards = write(tmp_path, documents)
    chosen = [documents[number] for number in split_documents(20, 0.3, split)]
    ours = rows_of(shards, build_index(shards, data, split, seed=5))
    assert ours == expected(chosen, data, 5)[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_that_comparison_sees_another_seed_length_or_share(tmp_path, objective):
    documents = numbered(random_lengths(2, documents=25))
    shards = write(tmp_path, documents)
    ours = rows_of(shards, build_index(shards, settings_of(objective, short=0.5), "train", seed=3))
    assert ours != expected(documents, settings_of(objective, short=0.5), 4)[0]
    assert ours != expected(documents, settings_of(objective, short=0.5, length=25), 3)[0]
    assert ours != expected(documents, settings_of(objective, short=0.4), 3)[0]
    moved = [*documents[1:], documents[0]]
    assert ours != expected(moved, settings_of(objective, short=0.5), 3)[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sentences_longer_than_a_row_are_cut_into_pieces(tmp_path, objective):
    lengths = [[100, 3, 21, 22, 20], [500], [1, 64, 1], [21 * 3], [21 * 3 + 1, 2]]
    documents = numbered(lengths)
    data = settings_of(objective, length=24, short=0.0)
    shards = write(tmp_path, documents)
    ours = rows_of(shards, build_index(shards, data, "train", seed=0))
    assert ours == expected(documents, data, 0)[0]
    seen = {token for a, b, _ in ours for token in (*a, *b)}
    everything = {token for document in documents for token in joined(document)}
    assert len(seen) > 0.5 * len(everything)
    if objective == "none":
        assert seen == everything


# ---------------------------------------------------------------------------------------------
# What holds for every corpus
# ---------------------------------------------------------------------------------------------

_LENGTHS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=2, max_size=8)


def build(folder: Path, lengths, objective: str, length: int, short: float, seed: int):
    documents = numbered(lengths)
    shards = write(folder, documents, shard_tokens=60)
    index = build_index(shards, settings_of(objective, length=length, short=short), "train", seed=seed)
    document_of = {token: n for n, document in enumerate(documents) for token in joined(document)}
    return documents, rows_of(shards, index), document_of


_ANY = {
    "lengths": _LENGTHS,
    "length": st.integers(8, 40),
    "short": st.sampled_from([0.0, 0.5, 1.0]),
    "seed": st.integers(0, 2**32),
}


def is_run(tokens: list[int]) -> bool:
    return tokens == list(range(tokens[0], tokens[0] + len(tokens)))


@settings(max_examples=40, deadline=None)
@given(objective=st.sampled_from(OBJECTIVES), **_ANY)
def test_rows_fit_and_each_segment_is_one_run_of_one_document(
    tmp_path_factory, objective, lengths, length, short, seed
):
    folder = tmp_path_factory.mktemp("corpus")
    _, rows, document_of = build(folder, lengths, objective, length, short, seed)
    for a, b, label in rows:
        assert a and is_run(a)
        assert len({document_of[token] for token in a}) == 1
        assert len(a) + len(b) + (3 if b else 2) <= length
        assert label in ((-1,) if not b else (0, 1))
        assert bool(b) is (objective == "nsp" or (objective == "sop" and label >= 0))
        if b:
            assert is_run(b)
            assert len({document_of[token] for token in b}) == 1


@settings(max_examples=30, deadline=None)
@given(**_ANY)
def test_single_segments_cover_every_token_once_in_order(tmp_path_factory, lengths, length, short, seed):
    folder = tmp_path_factory.mktemp("corpus")
    documents, rows, _ = build(folder, lengths, "none", length, short, seed)
    assert [token for a, _, _ in rows for token in a] == [t for d in documents for t in joined(d)]


@settings(max_examples=30, deadline=None)
@given(**_ANY)
def test_sop_segments_are_neighbours_in_the_order_the_label_says(
    tmp_path_factory, lengths, length, short, seed
):
    folder = tmp_path_factory.mktemp("corpus")
    _, rows, document_of = build(folder, lengths, "sop", length, short, seed)
    for a, b, label in rows:
        if label == -1:
            continue
        first, second = (b, a) if label else (a, b)
        assert document_of[a[0]] == document_of[b[0]]
        assert first[-1] < second[0]
        if len(a) + len(b) < length - 3:  # nothing was cut off between them
            assert first[-1] + 1 == second[0]


@settings(max_examples=30, deadline=None)
@given(**_ANY)
def test_nsp_labels_say_whether_b_follows_or_comes_from_another_document(
    tmp_path_factory, lengths, length, short, seed
):
    folder = tmp_path_factory.mktemp("corpus")
    _, rows, document_of = build(folder, lengths, "nsp", length, short, seed)
    for a, b, label in rows:
        assert label == int(document_of[a[0]] != document_of[b[0]])
        if label == 0:
            assert a[-1] < b[0]
            if len(a) + len(b) < length - 3:
                assert a[-1] + 1 == b[0]


# ---------------------------------------------------------------------------------------------
# Balance
# ---------------------------------------------------------------------------------------------


def test_nsp_takes_b_at_random_half_the_time_and_always_after_a_lone_sentence(tmp_path):
    documents = numbered(random_lengths(11, documents=1500, sentences=20, longest=12))
    shards = write(tmp_path, documents, shard_tokens=10**6)
    data = settings_of("nsp", length=32)
    index = build_index(shards, data, "train", seed=1)
    sizes = expected(documents, data, 1)[1]
    coins = sum(size > 1 for size in sizes)
    lone = len(sizes) - coins
    assert len(index) == len(sizes)
    assert coins > 4000 and lone > 400
    assert abs(index["label"].sum() - lone - coins / 2) < 4 * (coins / 4) ** 0.5
    assert abs(index["label"].sum() - len(index) / 2) > 4 * (len(index) / 4) ** 0.5  # that bound can fail


def test_sop_swaps_half_of_the_pairs(tmp_path):
    documents = numbered(random_lengths(12, documents=1500, sentences=20, longest=12))
    shards = write(tmp_path, documents, shard_tokens=10**6)
    label = build_index(shards, settings_of("sop", length=32), "train", seed=1)["label"]
    pairs = label[label >= 0]
    assert len(pairs) > 3000
    assert abs(pairs.sum() - len(pairs) / 2) < 4 * (len(pairs) / 4) ** 0.5
    assert (label == -1).any()


def test_the_lengths_of_a_pair_do_not_tell_its_label(tmp_path):
    """Two equal sentences, cut to an odd sum: the longer half is the first one, whichever that is."""
    shards = write(tmp_path, numbered([[40, 40] for _ in range(2000)]), shard_tokens=10**6)
    index = build_index(shards, settings_of("sop", length=64, short=0.0), "train", seed=1)
    assert set(zip(index["a_length"].tolist(), index["b_length"].tolist(), strict=True)) == {(31, 30)}
    assert abs(index["label"].sum() - 1000) < 4 * (2000 / 4) ** 0.5


def test_truncation_cuts_front_and_back_alike(tmp_path):
    documents = numbered([[40, 40] for _ in range(2000)])
    shards = write(tmp_path, documents, shard_tokens=10**6)
    index = build_index(shards, settings_of("sop", length=83 - 20, short=0.0), "train", seed=1)
    assert len(index) == 2000
    front = np.concatenate([index["a_start"] % 40, index["b_start"] % 40])  # tokens dropped before a segment
    assert (index["a_length"] + index["b_length"] == 60).all()
    # 20 coins a row
    assert abs(front.sum() - 2000 * 10) < 4 * (2000 * 20 / 4) ** 0.5


def test_the_share_of_documents_cut_short_is_the_one_asked_for(tmp_path):
    documents = numbered([[1] * 61 for _ in range(2000)])
    shards = write(tmp_path, documents, shard_tokens=10**6)
    data = settings_of("none", length=63, short=0.3)
    index = build_index(shards, data, "train", seed=1)
    full = (index["a_length"] == 61).sum()
    share = 0.7 + 0.3 / 60  # randint(2, 61) may give 61 too
    assert abs(full - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5


# ---------------------------------------------------------------------------------------------
# The held-out split
# ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 3000), fraction=st.floats(0.0001, 0.5))
def test_the_splits_share_no_document_and_miss_none(count, fraction):
    train, held_out = (split_documents(count, fraction, split).tolist() for split in ("train", "eval"))
    assert sorted(train + held_out) == list(range(count))
    assert train == sorted(train) and held_out == sorted(held_out)
    assert len(held_out) == max(2, round(count * fraction))


def test_a_fraction_of_zero_holds_nothing_out():
    assert split_documents(10, 0.0, "eval").tolist() == []
    assert split_documents(10, 0.0, "train").tolist() == list(range(10))


def test_the_held_out_documents_are_spread_over_the_corpus():
    held_out = split_documents(10_000, 0.1, "eval")
    assert abs(held_out.mean() - 4999.5) < 4 * (10_000**2 / 12 / 1000) ** 0.5
    assert held_out.tolist() != list(range(1000))


def test_every_seed_and_objective_evaluates_on_the_same_documents(tmp_path):
    documents = numbered(random_lengths(3, documents=40))
    shards = write(tmp_path, documents)
    document_of = {token: n for n, document in enumerate(documents) for token in joined(document)}
    seen = set()
    for objective in OBJECTIVES:
        for seed in (0, 1):
            index = build_index(shards, settings_of(objective, held_out=0.1), "eval", seed=seed)
            rows = rows_of(shards, index)
            seen.add(frozenset(document_of[token] for a, b, _ in rows for token in (*a, *b)))
    assert seen == {frozenset(split_documents(40, 0.1, "eval").tolist())}


# ---------------------------------------------------------------------------------------------
# The cache
# ---------------------------------------------------------------------------------------------


def config_of(objective: str = "nsp", *, seed: int = 0, length: int = 24, **train):
    return resolve(
        {
            "seed": seed,
            "data": {"sentence_objective": objective, "sequence_length": length, "eval_fraction": 0.2},
            "tokenizer": {"vocab_size": 2**17},
            "train": train,
        }
    )


def cached(shards: TokenShards) -> set[Path]:
    return set((shards.folder / "index").glob("*"))


def test_an_index_is_built_once_and_then_read(tmp_path):
    shards = write(tmp_path, numbered(random_lengths(4, documents=20)))
    first = load_index(shards, config_of(), "train")
    (file,) = cached(shards)
    written = file.stat().st_mtime_ns
    again = load_index(TokenShards.open(tmp_path), config_of(), "train")
    assert cached(shards) == {file}
    assert file.stat().st_mtime_ns == written
    assert (np.asarray(first) == np.asarray(again)).all()
    built = build_index(shards, config_of().data, "train", seed=0)
    assert (np.asarray(first) == built).all()


def test_the_cache_is_what_the_second_call_reads(tmp_path):
    shards = write(tmp_path, numbered(random_lengths(4, documents=20)))
    load_index(shards, config_of(), "train")
    (file,) = cached(shards)
    np.save(file, np.load(file)[:1])
    assert len(load_index(shards, config_of(), "train")) == 1


def test_what_decides_the_rows_has_an_index_of_its_own(tmp_path):
    shards = write(tmp_path, numbered(random_lengths(4, documents=20)))
    variants = [
        (config_of(), "train"),
        (config_of(seed=1), "train"),
        (config_of("sop"), "train"),
        (config_of("none"), "train"),
        (config_of(length=32), "train"),
        (config_of(), "eval"),
    ]
    for count, (config, split) in enumerate(variants, 1):
        load_index(shards, config, split)
        assert len(cached(shards)) == count
    load_index(shards, config_of(batch_size=8), "train")  # the batch size does not
    load_index(shards, config_of(seed=7), "eval")  # nor the seed for held-out rows
    assert len(cached(shards)) == len(variants)


def test_an_index_of_another_corpus_in_the_same_folder_is_not_used(tmp_path):
    write(tmp_path, numbered(random_lengths(4, documents=20)))
    before = load_index(TokenShards.open(tmp_path), config_of(), "train").copy()
    write(tmp_path, numbered(random_lengths(5, documents=20)))
    after = load_index(TokenShards.open(tmp_path), config_of(), "train")
    assert len(cached(TokenShards.open(tmp_path))) == 2
    assert len(before) != len(after) or (before != after).any()


def test_building_an_index_verifies_the_shards(tmp_path):
    shards = write(tmp_path, numbered(random_lengths(4, documents=20)))
    file = tmp_path / "tokens-00000.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"tokens-00000\.npy: checksum \d+ must be \d+"):
        load_index(shards, config_of(), "train")
    assert cached(shards) == set()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(tmp_path, objective):
    shards = write(tmp_path, numbered(random_lengths(6, documents=30)))
    data = settings_of(objective, short=0.5)
    first, again, other = (build_index(shards, data, "train", seed=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


# ---------------------------------------------------------------------------------------------
# Too little text
# ---------------------------------------------------------------------------------------------


def test_one_document_is_too_few_for_nsp(tmp_path):
    shards = write(tmp_path, numbered([[5, 6, 7]]))
    with pytest.raises(
        UserError,
        match=r"^the train split has 1 of the corpus's 1 documents,"
        r" config\.data\.sentence_objective='nsp' needs >= 2: add documents .* config\.data\.eval_fraction=0\.0$",
    ):
        build_index(shards, settings_of("nsp"), "train", seed=0)
    for objective in ("none", "sop"):
        assert len(build_index(shards, settings_of(objective), "train", seed=0)) >= 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_corpus_that_is_all_held_out_cannot_train(tmp_path, objective):
    shards = write(tmp_path, numbered([[5, 6], [7]]))
    with pytest.raises(
        UserError, match=r"^the train split has 0 of the corpus's 2 documents, .* needs >= [12]:"
    ):
        build_index(shards, settings_of(objective, held_out=0.02), "train", seed=0)


def test_nothing_held_out_cannot_be_evaluated(tmp_path):
    shards = write(tmp_path, numbered([[5, 6], [7]]))
    with pytest.raises(UserError, match=r"^the eval split has 0 of the corpus's 2 documents"):
        build_index(shards, settings_of("none"), "eval", seed=0)
