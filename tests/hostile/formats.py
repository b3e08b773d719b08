"""Every format that is read, each with a small valid folder of it and the call that reads it as the product does."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config.head import HeadConfig
from bert_jax.data import step_files
from bert_jax.data.corpus import stage_files
from bert_jax.data.corpus.shards import ShardWriter, TokenShards
from bert_jax.data.labelled import open as labelled
from bert_jax.data.labelled.features import Features, cached
from bert_jax.data.sources.files import TextFiles
from bert_jax.data.sources.texts import texts_of
from bert_jax.interop import native, stablehlo, tf1
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from bert_jax.models.parameters import flatten
from bert_jax.probes import scores
from bert_jax.sweeps import store, trials
from bert_jax.tasks import teachers
from bert_jax.text import tokenizer as tokenizers
from tests.data.corpora import Corpus
from tests.interop import small
from tests.sweeps.plans import make_plan
from tests.text import published


@dataclasses.dataclass(frozen=True)
class Format:
    """
    write: fills an empty folder. read: reads that folder, to a value that `==` compares.
    files: those that are damaged.
    checked: a checksum tells damage, so that what is read is what was written or an error. The files that it does not
      cover are in `unchecked`.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    files: tuple[str, ...]
    checked: bool = False
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def _plain(value: Any) -> Any:
    """Arrays as what `==` compares."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    return value


# ---------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------

_TEXTS = ["One line.\nAnother, with é and 数.", "The second document.", "A third\none."]
_ROWS = [{"text": text, "label": label} for text, label in zip(_TEXTS, ("yes", "no", "yes"), strict=True)]
_TAGGED = [{"tokens": ["A", "cat"], "tags": ["O", "B-X"]}, {"tokens": ["dogs"], "tags": ["B-X"]}]
_QUESTIONS = {
    "version": "1.1",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "The cat sat on the mat.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Who sat?",
                            "is_impossible": False,
                            "answers": [{"text": "The cat", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ],
}
_CONLLU = "# text\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\t_\tADP\t_\t_\t_\t_\t_\t_\n2\tle\t_\tDET\t_\t_\t_\t_\t_\t_\n\n"


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _zstd(content: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


_PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": _zstd}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet as pq

    sink = pyarrow.BufferOutputStream()
    pq.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def _file(name: str, content: bytes, read: Callable[[Path], Any]) -> Format:
    """A format of one file."""
    return Format(
        name,
        lambda folder: (folder / name).write_bytes(content) and None,  # type: ignore[func-returns-value]
        lambda folder: read(folder / name),
        (name,),
    )


def _source(path: Path) -> list[Any]:
    """As a corpus is prepared from it."""
    documents = []
    for one in TextFiles(str(path), text_field="text").inputs():
        for block in one.blocks(block_bytes=4096):
            documents += [(document.name, document.text) for document in block.documents("text")]
    return documents


def _sources() -> list[Format]:
    contents = {
        "corpus.txt": "\n\n".join(_TEXTS).encode(),
        "corpus.jsonl": _lines(_ROWS).encode(),
        "corpus.parquet": _parquet(_ROWS),
    }
    return [
        _file(name + packed, pack(content), _source)
        for name, content in contents.items()
        for packed, pack in _PACKED.items()
    ]


def _read_texts(path: Path) -> Any:
    return _plain(labelled.read_texts(str(path), label="class"))


def _read_tags(path: Path) -> Any:
    return _plain(labelled.read_tags(str(path)))


def _read_questions(path: Path) -> Any:
    return _plain(labelled.read_questions(str(path)))


def _labelled() -> list[Format]:
    tsv = 'text\tlabel\nA cat.\tyes\nA "dog"\tno\n'
    csv = 'text,label\n"A cat,\nand a ""dog"".",yes\nDogs,no\n'
    numbers = [
        {
            "id": "q1",
            "question": "Who?",
            "context": "The cat.",
            "answers": {"text": ["cat"], "answer_start": [4]},
        }
    ]
    return [
        _file("texts.tsv", tsv.encode(), _read_texts),
        _file("texts.tsv.gz", gzip.compress(tsv.encode()), _read_texts),
        _file("texts.csv", csv.encode(), _read_texts),
        _file("texts.jsonl", _lines(_ROWS).encode(), _read_texts),
        _file("texts.json", json.dumps(_ROWS).encode(), _read_texts),
        _file("texts.parquet", _parquet(_ROWS), _read_texts),
        _file("tags.conll", b"-DOCSTART- O\n\nA O\ncat B-X\n\ndogs\tB-X\n", _read_tags),
        _file("tags.conllu", _CONLLU.encode(), _read_tags),
        _file("tags.jsonl", _lines(_TAGGED).encode(), _read_tags),
        _file("tags.parquet", _parquet(_TAGGED), _read_tags),
        _file("squad.json", json.dumps(_QUESTIONS).encode(), _read_questions),
        _file("questions.jsonl", _lines(numbers).encode(), _read_questions),
        _file("questions.parquet", _parquet(numbers), _read_questions),
        _file("input.txt", "A cat.\nÉlan\n\nDogs\r\n".encode(), lambda path: list(texts_of(path))),
    ]


# ---------------------------------------------------------------------------------------------
# A prepared corpus, and caches
# ---------------------------------------------------------------------------------------------


def _write_shards(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "vocab.txt").write_text("a\nb\n")
    with ShardWriter(folder, vocab_size=500, shard_tokens=20) as writer:
        for _ in range(4):
            ids = rng.integers(0, 500, 12)
            writer.add(ids, ids % 2 == 0, np.array([5, 7]), np.array([2]))
        writer.finish(
            vocab_size=500,
            special_ids={"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4},
            sources=[{"name": "test", "documents": 4}],
            counts={"characters": 7},
            text={"sources": [], "vocabulary": None},
            config={"data.path": ["x"]},
        )


def _read_shards(folder: Path) -> Any:
    """As the first run over a corpus does, which compares all checksums."""
    shards = TokenShards.open(folder)
    shards.verify_vocabulary()
    shards.verify()
    starts = shards.sentence_starts[:-1]
    lengths = np.diff(shards.sentence_starts)
    windows = shards.gather(starts, lengths, int(lengths.max(initial=1)))
    words = shards.gather_words(starts, lengths, int(lengths.max(initial=1)))
    inside = np.arange(windows.shape[1]) < lengths[:, None]
    return _plain([windows[inside], words[inside], shards.document_starts, shards.special, shards.digest])


_CORPUS_LENGTHS = [[5, 4, 7], [6, 3], [8, 2, 2], [4, 4], [9]]


def _index(folder: Path) -> Any:
    from bert_jax.config import DataConfig

    index = Corpus(folder, _CORPUS_LENGTHS).index(DataConfig(sequence_length=32, eval_fraction=0.0))
    return _plain([np.array(index.segments), np.array(index.rows)])


def _index_files() -> Format:
    def write(folder: Path) -> None:
        _index(folder)
        [made] = [path for path in (folder / "index").iterdir() if path.is_dir()]
        assert sorted(path.name for path in made.iterdir()) == ["checksums.json", "rows.npy", "segments.npy"]

    def read(folder: Path) -> Any:
        return _index(folder)

    names = ("segments.npy", "rows.npy", "checksums.json")
    return Format("index", write, read, tuple(f"index/*/{name}" for name in names), checked=True)


_FEATURES = Features(
    tokens_T=np.arange(7, dtype=np.int32),
    type_ids_T=np.zeros(7, np.uint8),
    lengths_S=np.array([3, 4], np.int32),
    examples_S=np.array([0, 1], np.int32),
    of_sequences={"labels_P": np.array([1, 0], np.int32)},
    of_tokens={"tags_L": np.arange(7, dtype=np.int32)},
    of_positions={"starts_P": np.array([1, 2], np.int32)},
    kept={"spans_T2": np.zeros((7, 2), np.int32)},
)


def _features(folder: Path) -> Any:
    return _plain(cached(folder, {"of": "a test"}, lambda: _FEATURES))


_STEP = {"values": np.arange(12, dtype=np.float16).reshape(4, 3), "ids": np.arange(4, dtype=np.uint16)}


def _steps(folder: Path) -> Any:
    """A step of a teacher's outputs, computed where it is not read."""
    files = step_files.StepFiles(folder, tuple(_STEP), {"of": "a test"})
    found = files.read(5, 17)
    if found is None:
        files.add(5, 17, _STEP)
        found = _STEP
    files.flush()
    return _plain({name: found[name] for name in _STEP})


def _stage(folder: Path) -> Any:
    fields = {"hashes": np.arange(5, dtype=np.uint64), "counts": {"a": 1}}
    path = folder / "cleaned-00000-00000.npz"
    if not stage_files.is_sound(path):
        stage_files.save(path, fields)
    return _plain(stage_files.load(path, fields))


def _only(folder: Path, pattern: str) -> None:
    assert list(folder.glob(pattern)), f"{pattern} is not written"


def _caches() -> list[Format]:
    return [
        Format("shards", _write_shards, _read_shards, (
            "manifest.json", "tokens-00000.npy", "words-00000.npy", "sentences.npy", "documents.npy", "vocab.txt",
        ), checked=True, unchecked=("manifest.json",)),
        _index_files(),
        Format("features", lambda folder: _features(folder) and None, _features, ("*.npz",), checked=True),
        Format("steps", lambda folder: _steps(folder) and None, _steps, ("*.npz",), checked=True),
        Format("stage", lambda folder: _stage(folder) and None, _stage, ("*.npz",), checked=True),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------


def _model(loaded: Any) -> Any:
    config, params, *_ = loaded
    return _plain([repr(config), flatten(params)])


def _write_hf(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    save_hf(folder, small.params_of(config), config=config, tokenizer=small.TOKENIZER)


def _write_hf_head(folder: Path) -> None:
    """A classifier, and its weights as shards with an index."""
    config = dataclasses.replace(
        small.CONFIGS["bert"], head=HeadConfig(kind="classification", labels=("no", "yes"))
    )
    import jax
    from safetensors.numpy import load_file, save_file

    from bert_jax.models import bert

    params = bert.init_params(config, jax.random.key(0), heads=())
    save_hf(folder, params, config=config, tokenizer=small.TOKENIZER)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    half = len(names) // 2
    parts = {"model-1-of-2.safetensors": names[:half], "model-2-of-2.safetensors": names[half:]}
    for name, own in parts.items():
        save_file({key: tensors[key] for key in own}, folder / name)
    index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_sentences(folder: Path) -> None:
    config = dataclasses.replace(small.CONFIGS["bert"], head=HeadConfig(kind="embedding", pooling="mean"))
    params = {"bert": small.params_of(small.CONFIGS["bert"])["bert"]}
    save_hf(folder, params, config=config, tokenizer=small.TOKENIZER)


def _write_native(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    native.save_native(folder, small.params_of(config), config=config, tokenizer=small.TOKENIZER)


def _write_stablehlo(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    stablehlo.save_stablehlo(folder, small.params_of(config), config=config, tokenizer=None)


def _read_stablehlo(folder: Path) -> Any:
    """Opened, not run: running it compiles it."""
    return stablehlo.load(folder) is not None


def _write_tf1(folder: Path) -> None:
    from tests.interop import test_tf1

    test_tf1.write(folder, test_tf1.variables(test_tf1.BERT, test_tf1.make(test_tf1.BERT)), test_tf1.BERT)


def _models() -> list[Format]:
    weights = "model.safetensors"
    return [
        Format("hf", _write_hf, lambda folder: _model(load_hf(folder)), ("config.json", weights)),
        Format("hf-shards", _write_hf_head, lambda folder: _model(load_hf(folder)), (
            "config.json", "model.safetensors.index.json", "model-1-of-2.safetensors",
        )),
        Format("sentence-transformers", _write_sentences, lambda folder: _model(load_hf(folder)), (
            "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json",
        )),
        Format("native", _write_native, lambda folder: _model(native.load_native(folder)), (native.CONFIG_FILE, weights)),
        Format("stablehlo", _write_stablehlo, _read_stablehlo, (
            stablehlo.DESCRIPTION_FILE, stablehlo.PROGRAM_FILE,
        ), checked=True),
        Format("tf1", _write_tf1, lambda folder: _model(tf1.load_tf1(folder)), (
            "bert_config.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001",
        )),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Tokenizers
# ---------------------------------------------------------------------------------------------

_READ = ["The cat sat on the mat.", "[MASK] café 数学 <s> [SEP]", ""]


def _tokenizer(folder: Path) -> Any:
    loaded = tokenizers.load(folder, lowercase=None)
    texts = [[encoding.ids for encoding in loaded.encode_texts(_READ, max_length=16)]]
    words = loaded.encode_chunks(_READ)
    return [
        texts,
        words.ids.tolist(),
        loaded.frame,
        loaded.vocab_size,
        loaded.names,
        loaded.decode(words.ids.tolist()),
    ]


_BESIDE: dict[str, Any] = {
    "special_tokens_map.json": {"unk_token": "[UNK]", "mask_token": {"content": "[MASK]", "lstrip": False}},
    "added_tokens.json": {"<x>": len(published.WORDPIECE)},
}


def _write_vocab(folder: Path) -> None:
    published.write_wordpiece(folder)
    for name, value in _BESIDE.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "never_split": ["[CLS]"]})
    )


def _write_merges(folder: Path) -> None:
    published.write_bpe(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<mask>")


def _write_spiece(folder: Path) -> None:
    published.write_model(folder / "spiece.model", published.ALBERT)


def _write_spm(folder: Path) -> None:
    published.write_model(folder / "spm.model", published.DEBERTA_V2)


def _saved(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """The tokenizer of a folder as we save it: tokenizer.json and tokenizer_config.json."""

    def saved(folder: Path) -> None:
        (folder / "of").mkdir()
        write(folder / "of")
        tokenizers.load(folder / "of", lowercase=None).save(folder)

    return saved


def _tokenizers() -> list[Format]:
    both = ("tokenizer.json", "tokenizer_config.json")
    return [
        Format("vocab.txt", _write_vocab, _tokenizer, (
            "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        )),
        Format("vocab.json", _write_merges, _tokenizer, ("vocab.json", "merges.txt")),
        Format("spiece.model", _write_spiece, _tokenizer, ("spiece.model",)),
        Format("spm.model", _write_spm, _tokenizer, ("spm.model",)),
        Format("tokenizer.json-wordpiece", _saved(_write_vocab), _tokenizer, both),
        Format("tokenizer.json-bpe", _saved(_write_merges), _tokenizer, both),
        Format("tokenizer.json-unigram", _saved(_write_spiece), _tokenizer, both),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# What runs leave
# ---------------------------------------------------------------------------------------------


def _write_probed(folder: Path) -> None:
    score = scores.Score(name="a.loss", total_R=np.ones(2), weight_R=np.ones(2), better="lower", unit="nats")
    part = scores.Breakdown(name="a.loss by x", axis="x", labels=("1",), values=(2.0,), counts=(3,))
    scores.write(
        folder,
        scores.Probed(step=7, settings={"pairs": 20}, scores=(score,), breakdowns=(part,), details={"b": {}}),
    )


def _write_teachers(folder: Path) -> None:
    (folder / teachers.TEACHER_FILE).write_text(
        json.dumps({"teachers": ["/models/T", {"name": "a/b", "revision": "", "commit": "0" * 40}]})
    )


def _write_attempts(folder: Path) -> None:
    """Of a trial that failed."""
    for name in ("attempts", "trials/a-seed0"):
        (folder / name).mkdir(parents=True)
    notes = [{"began": 1e9, "host": "a"}, {"ended": 1e9 + 60, "status": 1, "reason": "the disk is full"}]
    (folder / "attempts/a-seed0.jsonl").write_text(_lines(notes))
    line = {"step": 3, "split": "train", "loss": 2.5, "tokens_per_s": 10.0}
    (folder / "trials/a-seed0/metrics.jsonl").write_text(_lines([line]))


def _left() -> list[Format]:
    return [
        Format(
            "probe", _write_probed, lambda folder: _plain(scores.read(folder)), (scores.JSON, scores.ARRAYS)
        ),
        Format(
            "sweep",
            lambda folder: store.claim(folder / "S", make_plan()),
            lambda folder: repr(store.read_plan(folder / "S")),
            ("S/sweep.json",),
        ),
        Format(
            "attempts",
            _write_attempts,
            lambda folder: _plain(trials.trial_state(folder, make_plan().trials[0])),
            ("attempts/a-seed0.jsonl", "trials/a-seed0/metrics.jsonl"),
        ),
        Format("teachers", _write_teachers, teachers.saved_teachers, (teachers.TEACHER_FILE,)),
    ]


FORMATS = {
    one.name: one for one in (*_sources(), *_labelled(), *_caches(), *_models(), *_tokenizers(), *_left())
}
