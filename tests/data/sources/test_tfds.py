"""TFDS datasets: one that the test writes, read in order; ones to be prepared; and one clear line for every fault."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bert_jax.data.sources.blocks import Document
from bert_jax.data.sources.tfds import TfdsDataset
from bert_jax.errors import UserError


def assert_fault(make, pattern: str):
    """`make` fails with one line that matches `pattern`."""
    with pytest.raises(UserError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(pattern, message), message


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a real dataset in four files, written with TFDS."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    folder = root / "tiny_text" / "plain" / "1.0.0"
    folder.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name="tiny_text",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name="",
        config_name="plain",
        config_description="",
        config_tags=[],
        release_notes={},
    )
    features = {
        "text": tfds.features.Text(),
        "label": tfds.features.Scalar(tf.int64),
        "body": tfds.features.Text(),
    }
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2)
    writer.initialize_splits(["train", "broken"])
    texts = ["One.\n\n Two. ", " \n ", "Three é.", "Four.", "Five."]
    splits = {"train": [text.encode() for text in texts], "broken": [b"fine", b"b\xffd"]}
    for split, values in splits.items():
        writer.add_examples({split: [{"text": v, "label": 1, "body": b"other"} for v in values]})
    writer.close_all()
    return root


def opened(root, entry="tfds:tiny_text/plain:train", text_field="text", data_dir=None, **numbers):
    return TfdsDataset(
        entry, data_dir=str(root) if data_dir is None else data_dir, text_field=text_field, **numbers
    )


def read(source, **sizes):
    return [
        document
        for part in source.inputs()
        for block in part.blocks(**sizes)
        for document in block.documents("text")
    ]


def test_documents_in_order_each_time(root):
    source = opened(root)
    documents = read(source)
    assert documents == [
        Document("tiny_text/plain:train:0", "One.\n\n Two. "),
        Document("tiny_text/plain:train:1", " \n "),
        Document("tiny_text/plain:train:2", "Three é."),
        Document("tiny_text/plain:train:3", "Four."),
        Document("tiny_text/plain:train:4", "Five."),
    ]
    assert read(source) == documents == read(opened(root), block_bytes=1)


def test_blocks_have_numbers_and_the_progress(root):
    (part,) = opened(root, source=2, first=5).inputs()
    blocks = list(part.blocks(block_bytes=1, limit=7))
    assert [(b.source, b.input, b.number) for b in blocks] == [(2, 5, n) for n in range(5)]
    assert [b.position for b in blocks] == [part.size * n // 5 for n in range(1, 6)]
    assert part.size == sum(file.stat().st_size for file in root.rglob("*train*"))
    assert [dict(b.skipped) for b in blocks] == [{"too_long": 1}, {}, {"too_long": 1}, {}, {}]


def test_a_slice_and_another_field(root):
    documents = read(opened(root, "tfds:tiny_text/plain:train[60%:]", text_field="body"))
    assert [document.text for document in documents] == ["other", "other"]
    assert documents[0].name == "tiny_text/plain:train[60%:]:0"


def test_identity(root):
    identity = opened(root).identity()
    assert json.loads(json.dumps(identity)) == identity == opened(root).identity()
    assert identity["dataset"] == "tiny_text/plain/1.0.0"
    assert [Path(file[0]).name[-5:] for file in identity["files"]] == ["00000", "00001", "00002"]
    assert identity["files"][0][1:] == [
        (status := Path(identity["files"][0][0]).stat()).st_size,
        status.st_mtime_ns,
    ]
    assert identity != opened(root, "tfds:tiny_text/plain:broken").identity()
    assert identity != opened(root, text_field="body").identity()


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        (
            {"entry": "tfds:tiny_nobody:train"},
            r"'tiny_nobody' is neither a dataset that TFDS knows nor prepared",
        ),
        ({"entry": "tfds:imdb_review:train"}, r"neither .*; did you mean 'imdb_reviews'\?"),
        (
            {"entry": "tfds:tiny_text/other:train"},
            r"is not prepared in .*, which holds: tiny_text/plain/1\.0\.0$",
        ),
        (
            {"entry": "tfds:imdb_reviews/bad:train"},
            r"TFDS knows 'imdb_reviews' but not 'bad': .*BuilderConfig bad not found",
        ),
        ({"entry": "tfds:hugging-face/x:train"}, r"must be tfds:NAME\[/CONFIG\]:SPLIT"),
        ({"data_dir": "/nowhere/at/all"}, r"tfds_dir='/nowhere/at/all': no such folder"),
        (
            {"entry": "tfds:tiny_text/plain:valid"},
            r"the split 'valid' is not in tiny_text/plain/1\.0\.0; it has: train, broken",
        ),
        ({"text_field": "boddy"}, r"text_field='boddy' is not a feature of .*; it has: body, label, text$"),
        (
            {"text_field": "label"},
            r"text_field='label' of .* is .*int64.*, must be text; text features: body, text",
        ),
    ],
)
def test_inputs_are_checked_on_opening(root, changes, pattern):
    assert_fault(lambda: opened(root, **changes), pattern)


def test_text_that_is_not_utf8(root):
    source = opened(root, "tfds:tiny_text/plain:broken")
    assert_fault(lambda: read(source), r"tiny_text/plain:broken:1: byte 0xff at offset 1 of the field 'text'")


def test_a_damaged_file(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    source = opened(tmp_path)
    shard = next(tmp_path.rglob("*train*00001"))
    shard.write_bytes(shard.read_bytes()[:20])
    assert_fault(lambda: read(source), r"plain/1\.0\.0: cannot be read: .*; prepare the dataset again")


def test_a_file_that_vanished(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    source = opened(tmp_path)
    next(tmp_path.rglob("*train*00001")).unlink()
    assert_fault(source.identity, r"train.*00001.*: cannot be read: No such file or directory; prepare the")


@pytest.fixture(scope="module")
def downloads():
    """A dataset that TFDS knows; set `fault` for its download to fail."""
    import tensorflow_datasets as tfds

    class TinyDownload(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        fault = ""

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
            )

        def _split_generators(self, dl_manager):
            if self.fault:
                raise ConnectionError(self.fault)
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"text": "Downloaded."}

    return TinyDownload


def test_a_dataset_is_downloaded_and_prepared_if_it_is_not_there(downloads, tmp_path):
    for _ in range(2):  # the second time it is there
        assert [d.text for d in read(opened(tmp_path, "tfds:tiny_download:train"))] == ["Downloaded."]


def test_a_download_that_fails_says_why_and_what_to_do(downloads, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "fault", "no route to host\nat all")
    assert_fault(
        lambda: opened(tmp_path, "tfds:tiny_download:train"),
        r"path='tfds:tiny_download:train' is not prepared in .* and cannot be prepared there: no route to host at all;"
        r" run on a machine that can: tfds build tiny_download --data_dir .*, or set config\.data\.tfds_dir",
    )
