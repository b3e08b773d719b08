"""A file names others of its folder alone: a path that leads elsewhere is refused before it is opened."""

from __future__ import annotations

import json
import re

import pytest

from bert_jax import json_file
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.errors import UserError
from bert_jax.interop.load import load_hf
from tests.hostile.formats import FORMATS

OUTSIDE = ("../secret", "/etc/passwd", "..", ".", "a/../../secret", "sub/secret", "", "x\0", "x" * 300)


@pytest.mark.parametrize("name", [*OUTSIDE, None, 3, ["x"]])
def test_what_is_no_file_name(name):
    assert not json_file.is_file_name(name)


@pytest.mark.parametrize("name", ["tokens-00000.npy", "x", "…", ".hidden", "a..b"])
def test_what_is_a_file_name(name):
    assert json_file.is_file_name(name)


@pytest.fixture
def folder(tmp_path):
    """The folder of a format, which is not alone: beside it lies what it may not reach."""

    def written(name: str):
        inner = tmp_path / "inner"
        inner.mkdir()
        FORMATS[name].write(inner)
        (tmp_path / "secret").write_text("secret")
        return inner

    return written


def change(path, change) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def refusal(read, folder) -> str:
    with pytest.raises(UserError) as caught:
        read(folder)
    assert "secret" not in re.sub(r"'[^']*'", "", str(caught.value)), "only as the name that is refused"
    return str(caught.value)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_shard_of_a_checkpoint(folder, name):
    inner = folder("hf-shards")
    change(
        inner / "model.safetensors.index.json",
        lambda raw: raw["weight_map"].update({"bert.pooler.dense.bias": name}),
    )
    assert "must be a file name, without folders" in refusal(load_hf, inner)


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name])
def test_a_module_of_sentence_transformers(folder, name):
    inner = folder("sentence-transformers")
    change(inner / "modules.json", lambda raw: raw[1].update(path=name))
    assert "must be the name of a folder beside it" in refusal(load_hf, inner)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("part", ["vocabulary", "tokens", "words"])
def test_a_file_of_a_corpus(folder, name, part):
    inner = folder("shards")

    def renamed(raw):
        entry = raw["files"][0] if part == "vocabulary" else raw["shards"][0][part]
        entry["file"] = name

    change(inner / "manifest.json", renamed)
    assert "must be a file name, without folders" in refusal(TokenShards.open, inner)
