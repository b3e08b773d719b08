"""TFDS datasets that the test writes: class numbers become names, nested features plain values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.labelled.open import Answer, Columns, read_questions, read_tags, read_texts
from tests.data.labelled.faults import assert_fault


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    import tensorflow_datasets as tfds

    features = tfds.features
    root = tmp_path_factory.mktemp("tfds")

    def write(name: str, kinds: dict, **splits: list[dict]) -> None:
        folder = root / name / "1.0.0"
        folder.mkdir(parents=True)
        identity = tfds.core.DatasetIdentity(
            name=name, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
        )
        info = tfds.core.DatasetInfo(builder=identity, features=features.FeaturesDict(kinds))
        writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2)
        writer.initialize_splits(list(splits))
        writer.add_examples(splits)
        writer.close_all()

    pair = {
        "idx": features.Scalar(np.int32),
        "sentence1": features.Text(),
        "sentence2": features.Text(),
        "label": features.ClassLabel(names=["no", "yes"]),
        "topics": features.Sequence(features.ClassLabel(names=["b", "a"])),
        "similarity": features.Scalar(np.float32),
        "image": features.Image(shape=(1, 1, 3)),
    }
    rest = {"topics": [1, 0], "similarity": 4.2, "image": np.zeros((1, 1, 3), np.uint8)}
    rows = [{"idx": n, "sentence1": f"é{n}", "sentence2": "b", "label": n % 2, **rest} for n in range(4)]
    write(
        "tiny_pairs",
        pair,
        train=rows,
        test=[{**rows[0], "label": -1}],
        mixed=[rows[0], {**rows[1], "label": -1}],
    )
    tagged = {
        "tokens": features.Sequence(features.Text()),
        "ner": features.Sequence(features.ClassLabel(names=["O", "B-X"])),
        "pos": features.Sequence(features.ClassLabel(names=["NN", "VB", "DT"])),
    }
    write("tiny_tags", tagged, train=[{"tokens": ["a", "é"], "ner": [1, 0], "pos": [2, 0]}])
    asked = {
        "id": features.Text(),
        "title": features.Text(),
        "context": features.Text(),
        "question": features.Text(),
        "answers": features.Sequence({"text": features.Text(), "answer_start": np.int32}),
    }
    row = {"id": "q1", "title": "t", "context": "é cat", "question": "Who?"}
    none = {"id": "q2", "answers": {"text": [], "answer_start": []}}
    write("tiny_squad", asked, train=[row | {"answers": {"text": ["cat"], "answer_start": [2]}}, row | none])
    return str(root)


def test_texts_with_the_names_of_their_classes(root):
    read = read_texts("tfds:tiny_pairs:train", label="class", tfds_dir=root)
    assert [(e.text, e.text_pair, e.label) for e in read.examples] == [
        ("é0", "b", "no"),
        ("é1", "b", "yes"),
        ("é2", "b", "no"),
        ("é3", "b", "yes"),
    ]
    assert read.examples[2].place == "tiny_pairs:train:2"
    assert read.labels == ("no", "yes")
    part = read_texts("tfds:tiny_pairs:train[50%:]", label="class", tfds_dir=root, limit=1)
    assert [e.text for e in part.examples] == ["é2"]


def test_lists_of_classes_and_numbers(root):
    columns = Columns(label="topics")
    read = read_texts("tfds:tiny_pairs:train", columns=columns, label="classes", tfds_dir=root)
    assert read.examples[0].label == ("a", "b") and read.labels == ("b", "a")
    columns = Columns(label="similarity")
    read = read_texts("tfds:tiny_pairs:train", columns=columns, label="number", tfds_dir=root)
    assert read.examples[0].label == 4.2 and read.labels == ()


def test_a_test_set_has_no_labels(root):
    read = read_texts("tfds:tiny_pairs:test", label="class", labelled=False, tfds_dir=root)
    assert [(e.text, e.label) for e in read.examples] == [("é0", None)]
    assert read_texts("tfds:tiny_pairs:mixed", label="class", tfds_dir=root).skipped == {"no label": 1}
    assert_fault(
        lambda: read_texts("tfds:tiny_pairs:test", label="class", tfds_dir=root),
        r"^tfds:tiny_pairs:test: all 1 examples are passed over: 1 with no label",
    )


def test_tags(root):
    read = read_tags("tfds:tiny_tags:train", tfds_dir=root)
    assert [(e.words, e.tags) for e in read.examples] == [(("a", "é"), ("B-X", "O"))]
    assert read.labels == ("O", "B-X")
    read = read_tags("tfds:tiny_tags:train", columns=Columns(label="pos"), tfds_dir=root)
    assert read.examples[0].tags == ("DT", "NN") and read.labels == ("NN", "VB", "DT")


def test_questions(root):
    read = read_questions("tfds:tiny_squad:train", tfds_dir=root)
    assert [(e.id, e.context, e.answers) for e in read.examples] == [
        ("q1", "é cat", (Answer("cat", 2),)),
        ("q2", "é cat", ()),
    ]
    assert read.digest != read_questions("tfds:tiny_squad:train", labelled=False, tfds_dir=root).digest


@pytest.mark.parametrize(
    ("entry", "column", "pattern"),
    [
        ("tfds:tiny_nobody:train", "", r"^'tfds:tiny_nobody:train': 'tiny_nobody' is neither .*set tfds_dir"),
        (
            "tfds:tiny_pairs:valid",
            "",
            r"^'tfds:tiny_pairs:valid': the split 'valid' is not in tiny_pairs/1\.0\.0",
        ),
        ("tfds:tiny_pairs", "", r"^'tfds:tiny_pairs' must be tfds:NAME\[/CONFIG\]:SPLIT"),
        (
            "tfds:tiny_pairs:train",
            "body",
            r"there is no column 'body'; it has: idx, image, label, sentence1, sen",
        ),
        ("tfds:tiny_pairs:train", "idx", r"^tiny_pairs:train:0: the column 'idx' holds int, must be text"),
    ],
)
def test_faults(root, entry, column, pattern):
    columns = Columns(text=column)
    assert_fault(lambda: read_texts(entry, columns=columns, label="class", tfds_dir=root), pattern)


def test_a_folder_that_is_not_there():
    assert_fault(
        lambda: read_texts("tfds:tiny_pairs:train", label="class", tfds_dir="/nowhere/at/all"),
        r"^tfds_dir='/nowhere/at/all': no such folder",
    )


def test_a_damaged_file(root, tmp_path):
    import shutil

    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    shard = next(Path(tmp_path, "tiny_pairs").rglob("*train*00001"))
    shard.write_bytes(shard.read_bytes()[:20])
    assert_fault(
        lambda: read_texts("tfds:tiny_pairs:train", label="class", tfds_dir=str(tmp_path)),
        r"tiny_pairs/1\.0\.0: cannot be read: .*; prepare the dataset again",
    )


def test_importing_costs_no_tensorflow():
    import subprocess
    import sys

    code = "import sys, bert_jax.data.labelled.open; print({'tensorflow', 'tensorflow_datasets', 'jax', 'pyarrow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
