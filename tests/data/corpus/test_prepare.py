"""Preparing a corpus: what is written is the text, and nothing half-made or outdated is ever trusted."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_jax import locks
from bert_jax.config import PretrainConfig
from bert_jax.data.corpus import prepare as module
from bert_jax.data.corpus.open import corpus_folder, data_root, open_corpus
from bert_jax.data.corpus.prepare import prepare
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.instances.index import load_index
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop.load import load_tokenizer
from bert_jax.text import sentences, tokenizer
from tests.data.corpus.configs import TEXT, VOCABULARY, config_of, elsewhere
from tests.text.published import write_said, write_wordpiece

ROOT = Path(__file__).parents[3]


def long_text(documents: int = 60) -> str:
    """About 20 kB of random words; every tenth document is the one before again."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(300)]
    texts: list[str] = []
    for number in range(documents):
        line = " ".join(rng.choices(words, k=12)).capitalize()
        texts.append(texts[-1] if number % 10 == 9 else f"{line}. {line[::-1]}\nThe same footer.")
    return "\n\n".join(texts) + "\n"


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file; times of the text files, which the manifest holds, left out."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(data)
            for source in manifest["text"]["sources"]:
                source["files"] = [[name, size] for name, size, _ in source["files"]]
            data = json.dumps(manifest).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def documents_of(shards: TokenShards) -> list[list[list[int]]]:
    tokens = np.concatenate([np.load(file) for file in sorted(shards.folder.glob("tokens-*.npy"))]).tolist()
    starts, bounds = shards.sentence_starts.tolist(), shards.document_starts.tolist()
    cut = [tokens[a:b] for a, b in itertools.pairwise(starts)]
    return [cut[a:b] for a, b in itertools.pairwise(bounds)]


def listed(config: PretrainConfig) -> list[str]:
    return sorted(path.name for path in data_root(config).iterdir())


# ---------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rule", "line"])
def test_the_corpus_is_the_text_encoded_sentence_by_sentence(tmp_path, mode):
    shards, made = prepare(config_of(tmp_path, data__sentences=mode))
    assert made
    vocabulary = tokenizer.load(tmp_path / "given.txt")
    split = sentences.split if mode == "rule" else lambda line: [line]
    expected = [
        [vocabulary.encode(s) for line in document.split("\n") if line for s in split(line)]
        for document in TEXT.split("\n\n")
    ]
    assert documents_of(shards) == expected
    assert [len(document) for document in expected] == ([3, 2, 2] if mode == "rule" else [2, 1, 1])


def test_text_that_names_special_tokens_gets_no_structure_from_them(tmp_path):
    shards, _ = prepare(config_of(tmp_path))
    special = shards.special
    tokens = {token for document in documents_of(shards) for ids in document for token in ids}
    assert not tokens & {special.pad, special.cls, special.sep, special.mask}
    assert special.unk in tokens  # the Greek letter


def test_the_manifest_counts_what_was_read_kept_and_left_out(tmp_path):
    text = TEXT + "\n\u0301\n\nΩ Ω a\0\n\nΩ Ω a\n\nab\n\nFooter\nlong enough\n\nFooter\ne\u0301\n"
    cleaning = {"cleaning__min_characters": 3, "cleaning__boilerplate_documents": 2}
    shards, _ = prepare(config_of(tmp_path, text=text, data__sentences="line", **cleaning))
    lines = [line for line in TEXT.split("\n") if line] + ["Ω Ω a", "long enough"]
    assert shards.manifest["counts"] == {
        "documents": 5,
        "sentences": len(lines),
        "tokens": sum(len(ids) for document in documents_of(shards) for ids in document),
        "characters": sum(map(len, lines)),
        "unknown": 3,
        "unused_entries": 0,
        "documents_read": 9,
        "short_documents": 3,  # the accent, "ab", and "é" without its footer
        "duplicate_documents": 1,
        "boilerplate_lines": 2,
        "control_characters": 1,
        "normalized": 1,
        "empty_documents": 0,
    }
    assert shards.manifest["sources"] == [{"name": str(tmp_path / "text.txt"), "documents": 5}]


def test_a_prepared_folder_holds_the_vocabulary_that_transformers_reads(tmp_path):
    shards, _ = prepare(config_of(tmp_path))
    for name in ("vocab.txt", "tokenizer.json"):
        assert tokenizer.load(shards.folder / name).vocab_size == len(VOCABULARY)
    assert shards.vocab_size == len(VOCABULARY)
    assert (shards.folder / "vocab.txt").read_bytes() == (tmp_path / "given.txt").read_bytes()


def test_a_vocabulary_is_trained_when_none_is_given(tmp_path):
    shards, _ = prepare(config_of(tmp_path, tokenizer__path="", tokenizer__vocab_size=300))
    vocabulary = tokenizer.load(shards.folder / "tokenizer.json")
    assert vocabulary.vocab_size == shards.vocab_size == 300
    assert documents_of(shards)[0][0] == vocabulary.encode("The first document has two sentences.")


@pytest.mark.parametrize("name", ["", "vocab.txt"])
def test_a_published_folder_is_read_as_its_model_is(tmp_path, name):
    """Its own casing, and its added tokens, whatever config.tokenizer.lowercase is."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Der", "läuft", "der", "lauft", "."]
    folder = tmp_path / "published"
    folder.mkdir()
    write_wordpiece(folder, entries)
    write_said(
        folder,
        config={"model_type": "bert"},
        tokenizer_config={"do_lower_case": False, "strip_accents": False},
        added_tokens={"Hund": 10},
    )
    vocabulary = {"tokenizer__path": str(folder / name), "tokenizer__vocab_size": 11}
    config = config_of(tmp_path, text="Der Hund läuft .\n", **vocabulary)
    assert config.tokenizer.lowercase
    shards, _ = prepare(config)
    assert documents_of(shards) == [[load_tokenizer(folder).encode("Der Hund läuft .")]] == [[[5, 10, 6, 9]]]
    assert tokenizer.load(shards.folder).encode("Der Hund läuft .") == [5, 10, 6, 9]
    assert open_corpus(config).folder == shards.folder
    write_said(folder, added_tokens={"Hunde": 10})
    with pytest.raises(UserError, match="was changed after the corpus was prepared with it"):
        open_corpus(config)


@pytest.mark.parametrize(("content", "rstrip"), [("New York", False), ("<br>", True)])
def test_an_added_token_that_crosses_words_is_refused(tmp_path, content, rstrip):
    config = config_of(tmp_path, tokenizer__vocab_size=len(VOCABULARY) + 1)
    token = {"content": content, "rstrip": rstrip}
    write_said(tmp_path, tokenizer_config={"added_tokens_decoder": {str(len(VOCABULARY)): token}})
    with pytest.raises(
        UserError, match=f"config.tokenizer.path=.*its added token '{content}' crosses the end of a word"
    ):
        prepare(config)


def test_documents_that_cleaning_drops_change_neither_vocabulary_nor_tokens(tmp_path):
    config = config_of(tmp_path, text=TEXT, tokenizer__path="", tokenizer__vocab_size=200)
    once = contents(prepare(config)[0].folder)
    (tmp_path / "text.txt").write_text(TEXT + "\n" + TEXT)
    twice, _ = prepare(elsewhere(config, tmp_path / "2"))
    assert twice.manifest["counts"]["duplicate_documents"] == 3
    assert {k: v for k, v in contents(twice.folder).items() if k != "manifest.json"} == {
        k: v for k, v in once.items() if k != "manifest.json"
    }


def test_the_same_text_in_any_form_gives_the_same_tokens(tmp_path):
    import pyarrow
    from pyarrow import parquet

    documents = [document.strip("\n") for document in TEXT.split("\n\n")]
    rows = "".join(json.dumps({"text": document}) + "\n" for document in documents)
    (tmp_path / "a.txt").write_text("\r\n\r\n".join(documents).replace("\n", "\r\n"), newline="")
    (tmp_path / "b.jsonl").write_text(rows)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    parquet.write_table(pyarrow.table({"text": documents}), tmp_path / "d.parquet")
    digests = set()
    for name in ("a.txt", "b.jsonl", "c.jsonl.gz", "d.parquet"):
        shards, _ = prepare(config_of(tmp_path, text=None, data__path=str(tmp_path / name)))
        digests.add(shards.digest)
        assert [len(document) for document in documents_of(shards)] == [3, 2, 2]
    assert len(digests) == 1


def test_sources_keep_their_order_and_are_counted(tmp_path):
    for name, text in (("b.txt", "Bee.\n\nBumble bee.\n"), ("a.txt", "Ant.\n")):
        (tmp_path / name).write_text(text)
    path = f"{tmp_path}/b.txt, {tmp_path}/a.txt"
    shards, _ = prepare(config_of(tmp_path, text=None, data__path=path))
    given = tokenizer.load(tmp_path / "given.txt")
    assert documents_of(shards) == [[given.encode(text)] for text in ("Bee.", "Bumble bee.", "Ant.")]
    assert [source["documents"] for source in shards.manifest["sources"]] == [2, 1]


def test_two_runs_write_the_same_bytes_and_other_text_others(tmp_path):
    config = config_of(tmp_path)
    first = contents(prepare(config)[0].folder)
    assert contents(prepare(elsewhere(config, tmp_path / "2"))[0].folder) == first
    assert {"manifest.json", "tokens-00000.npy", "vocab.txt", "tokenizer.json"} <= set(first)
    config_of(tmp_path, text=TEXT.replace("third", "fourth"))
    assert contents(prepare(elsewhere(config, tmp_path / "2"))[0].folder) != first


def test_any_number_of_blocks_and_processes_writes_the_same_bytes(tmp_path):
    config = config_of(
        tmp_path,
        text=long_text(),
        tokenizer__path="",
        tokenizer__vocab_size=200,
        cleaning__boilerplate_documents=5,
    )
    whole, _ = prepare(config)
    counts = whole.manifest["counts"]
    assert (counts["documents"], counts["duplicate_documents"], counts["boilerplate_lines"]) == (54, 6, 54)
    expected = contents(whole.folder)
    assert contents(prepare(elsewhere(config, tmp_path / "2"), block_bytes=700)[0].folder) == expected
    several, _ = prepare(elsewhere(config, tmp_path / "3"), block_bytes=700, processes=2)
    assert contents(several.folder) == expected


# ---------------------------------------------------------------------------------------------
# Again
# ---------------------------------------------------------------------------------------------


def test_a_second_run_finds_the_corpus_and_touches_nothing(tmp_path):
    config = config_of(tmp_path)
    first, made = prepare(config)
    load_index(first, config_of(tmp_path, text=None, data__eval_fraction=0.0), "train")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    second, made_again = prepare(config)
    assert (made, made_again) == (True, False)
    assert {path: path.stat().st_mtime_ns for path in second.folder.rglob("*")} == before
    assert second.digest == first.digest


def test_changed_text_is_prepared_again(tmp_path):
    first, _ = prepare(config_of(tmp_path))
    second, made = prepare(config_of(tmp_path, text=TEXT + "\nA new document.\n"))
    assert made
    assert second.folder == first.folder
    assert second.manifest["counts"]["documents"] == first.manifest["counts"]["documents"] + 1
    assert prepare(config_of(tmp_path, text=None))[1] is False


def test_another_file_in_the_folder_of_texts_is_seen(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text(TEXT)
    config = config_of(tmp_path, text=None, data__path=str(texts))
    prepare(config)
    (texts / "b.txt").write_text("More text.\n")
    shards, made = prepare(config)
    assert made and shards.manifest["counts"]["documents"] == 4


def test_text_that_changes_while_it_is_prepared_counts_as_changed(tmp_path):
    config = config_of(tmp_path)

    class Editing(module.LocalEngine):
        def encode(self, stages, ids):
            super().encode(stages, ids)
            with (tmp_path / "text.txt").open("a") as stream:
                stream.write("Too late.\n")

    prepare(config, engine=Editing(1))
    with pytest.raises(UserError, match=r"text\.txt was changed after it was prepared"):
        open_corpus(config)
    assert prepare(config)[1] is True


# ---------------------------------------------------------------------------------------------
# Stopped, killed and damaged
# ---------------------------------------------------------------------------------------------


class _Stopping(module.LocalEngine):
    """Works as it should until it has cleaned, or encoded, so many blocks."""

    def __init__(self, *, cleaned: int = 10**9, encoded: int = 10**9, error: BaseException):
        super().__init__(1)
        object.__setattr__(self, "left", {"clean": cleaned, "encode": encoded})
        object.__setattr__(self, "error", error)

    def clean(self, stages, inputs):
        super().clean(self.limited(stages), inputs)

    def encode(self, stages, ids):
        super().encode(self.limited(stages), ids)

    def limited(self, stages):
        engine = self

        class Limited(type(stages)):
            def clean(self, block):
                engine.count("clean")
                super().clean(block)

            def encode(self, block):
                engine.count("encode")
                super().encode(block)

        return Limited(stages.config, stages.folder, stages.block_bytes)

    def count(self, step):
        if not self.left[step]:
            raise self.error
        self.left[step] -= 1


@pytest.mark.parametrize(
    "stop", [{"cleaned": 0}, {"cleaned": 7}, {"encoded": 0}, {"encoded": 7}], ids=lambda s: str(s)
)
@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_run_that_is_stopped_goes_on_and_makes_nothing_twice(tmp_path, stop, error):
    config = config_of(tmp_path, text=long_text(), tokenizer__path="", tokenizer__vocab_size=200)
    expected = contents(prepare(elsewhere(config, tmp_path / "straight"), block_bytes=700)[0].folder)
    with pytest.raises(type(error)):
        prepare(config, block_bytes=700, engine=_Stopping(error=error, **stop))
    assert listed(config) == [f"{corpus_folder(config).name}.partial"]
    with pytest.raises(UserError, match=r"^no prepared corpus"):
        open_corpus(config)
    blocks = 14
    rest = {"cleaned": blocks - stop["cleaned"] if "cleaned" in stop else 0}
    rest["encoded"] = blocks - stop.get("encoded", 0)
    engine = _Stopping(error=AssertionError("made twice"), **rest)
    shards, made = prepare(config, block_bytes=700, engine=engine)
    assert made
    assert engine.left == {"clean": 0, "encode": 0}
    assert contents(shards.folder) == expected
    assert listed(config) == [shards.folder.name]


@pytest.mark.parametrize("step", ["scanned", "encoded"])
def test_a_block_that_was_damaged_meanwhile_is_made_again(tmp_path, step):
    config = config_of(tmp_path, text=long_text())
    expected = contents(prepare(elsewhere(config, tmp_path / "straight"), block_bytes=700)[0].folder)
    with pytest.raises(RuntimeError):
        prepare(config, block_bytes=700, engine=_Stopping(encoded=10, error=RuntimeError()))
    files = sorted(data_root(config).glob(f"*.partial/{step}-*"))
    assert len(files) == (4 if step == "scanned" else 10)
    files[0].write_bytes(files[0].read_bytes()[:-9])
    files[1].unlink()
    assert contents(prepare(config, block_bytes=700)[0].folder) == expected


def test_a_partial_corpus_of_other_text_is_not_used(tmp_path):
    config = config_of(tmp_path)
    with pytest.raises(RuntimeError):
        prepare(config, engine=_Stopping(encoded=0, error=RuntimeError()))
    config_of(tmp_path, text="Other text altogether.\n")
    shards, _ = prepare(config)
    assert documents_of(shards) == [[tokenizer.load(tmp_path / "given.txt").encode("Other text altogether.")]]
    assert listed(config) == [shards.folder.name]


def test_a_run_that_fails_leaves_the_older_corpus_in_place(tmp_path):
    before = contents(prepare(config_of(tmp_path))[0].folder)
    config = config_of(tmp_path, text=TEXT + "\nMore.\n")
    with pytest.raises(RuntimeError):
        prepare(config, engine=_Stopping(encoded=0, error=RuntimeError()))
    assert contents(corpus_folder(config)) == before


_PROGRAM = """
import json, sys
from bert_jax.config import resolve
from bert_jax.data.corpus.prepare import prepare
prepare(resolve(json.loads(sys.argv[1])), block_bytes=100)
"""


def run_until(config: PretrainConfig, appears: str, count: int) -> int:
    """Prepares in another process and kills it once `count` files of that name are there; its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(dataclasses.asdict(config))],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    partial = corpus_folder(config).with_name(f"{corpus_folder(config).name}.partial")
    while process.poll() is None and len(list(partial.glob(appears))) < count:
        time.sleep(0.001)
    process.kill()
    return process.wait()


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    config = config_of(tmp_path, text=long_text(120), tokenizer__path="", tokenizer__vocab_size=300)
    expected = contents(prepare(elsewhere(config, tmp_path / "straight"), block_bytes=100)[0].folder)
    for appears, count in (("scanned-*", 40), ("encoded-*", 40), ("corpus", 1)):
        assert run_until(config, appears, count) == -signal.SIGKILL
        with pytest.raises(UserError, match=r"^no prepared corpus"):
            open_corpus(config)
    assert contents(prepare(config, block_bytes=100)[0].folder) == expected
    assert corpus_folder(config).name in listed(config)
    assert not list(data_root(config).glob("*.partial"))


def test_what_a_kill_left_beside_a_whole_corpus_is_removed(tmp_path):
    config = config_of(tmp_path)
    prepare(config)
    partial = corpus_folder(config).with_name(f"{corpus_folder(config).name}.partial")
    (partial / "words").mkdir(parents=True)
    assert prepare(config)[1] is False
    assert not partial.exists()


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path):
    config = config_of(tmp_path)
    data_root(config).mkdir()
    lock = data_root(config) / f".{corpus_folder(config).name}.lock"
    with (
        locks.held(lock, "the test"),
        pytest.raises(
            UserError,
            match=rf"^the preparation of /.* is in use by another process \(process {os.getpid()} on",
        ),
    ):
        prepare(config)
    assert prepare(config)[1] is True


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""],
    ids=["truncated", "flipped bit", "empty"],
)
@pytest.mark.parametrize("name", ["tokens-00000.npy", "words-00000.npy", "sentences.npy", "manifest.json"])
def test_preparing_again_repairs_a_damaged_corpus(tmp_path, name, change):
    """Every message about damage says to run `prepare` again, so that must help."""
    config = config_of(tmp_path)
    shards, _ = prepare(config)
    before = contents(shards.folder)
    file = shards.folder / name
    file.write_bytes(change(file.read_bytes()))
    repaired, made = prepare(config)
    assert made
    assert contents(repaired.folder) == before
    repaired.verify()


# ---------------------------------------------------------------------------------------------
# Text and vocabularies that do not do
# ---------------------------------------------------------------------------------------------


def test_a_vocabulary_of_another_size_is_named(tmp_path):
    config = config_of(tmp_path, tokenizer__vocab_size=1000)
    with pytest.raises(
        UserError,
        match=rf"^config\.tokenizer\.vocab_size=1000 must equal the size of .*/given\.txt: {len(VOCABULARY)}$",
    ):
        prepare(config)
    assert not (tmp_path / "prepared").exists()


def test_a_vocabulary_too_small_to_train_is_named(tmp_path):
    config = config_of(tmp_path, tokenizer__path="", tokenizer__vocab_size=10)
    with pytest.raises(ConfigError, match=r"^config\.tokenizer\.vocab_size=10 must be >= \d+"):
        prepare(config)
    assert listed(config) == []  # another size is another folder: nothing would go on from here


def test_text_without_a_single_token_is_no_corpus(tmp_path):
    config = config_of(tmp_path, text="\u0301\n\n\u200b\n")
    with pytest.raises(UserError, match=r"the text of config\.data\.path=.* has no token: "):
        prepare(config)
    assert list((tmp_path / "prepared").iterdir()) == []


def test_missing_text_is_a_fault_of_prepare(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "text.txt").unlink()
    with pytest.raises(UserError, match=r"text\.txt'?: no such file or folder"):
        prepare(config)


def test_nulls_are_counted_and_skipped_alike_in_jsonl_and_parquet(tmp_path):
    values = [TEXT, None, "Another document of several words.", None, None]
    (tmp_path / "j").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "j" / "a.jsonl").write_text("".join(json.dumps({"text": v}) + "\n" for v in values))
    pq.write_table(pa.table({"text": pa.array(values[:2], pa.string())}), tmp_path / "p" / "a.parquet")
    pq.write_table(pa.table({"text": pa.array(values[2:3], pa.string())}), tmp_path / "p" / "b.parquet")
    pq.write_table(pa.table({"text": pa.nulls(2)}), tmp_path / "p" / "c.parquet")
    found = [prepare(config_of(tmp_path, data__path=str(tmp_path / kind)))[0] for kind in "jp"]
    ours, theirs = (shards.manifest["counts"] for shards in found)
    assert ours == theirs and ours["skipped_null"] == 3 and ours["documents_read"] == 2


def test_a_column_of_nulls_alone_is_no_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": null, "body": "x"}\n' * 3)
    with pytest.raises(UserError, match=r"has no token: .*config\.data\.text_field='text' is null in 3 more"):
        prepare(config_of(tmp_path, data__path=str(tmp_path / "a.jsonl")))
