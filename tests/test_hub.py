"""Models by their id: from the cache without a network, from a hub on the loopback, and every way to get none."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

import bert_jax
from bert_jax import __main__, hub
from bert_jax.data.corpus.open import corpus_folder, deciding_values, open_corpus
from bert_jax.data.corpus.prepare import prepare
from bert_jax.errors import UserError
from bert_jax.hub import ModelId
from bert_jax.interop.save import save_hf
from tests.data.corpus.configs import config_of
from tests.hub_folders import COMMIT, OLDER, lay_out, serve
from tests.interop.small import CONFIGS, TOKENIZER, params_of

NAME = "org/tiny"


@pytest.fixture
def saved(tmp_path):
    save_hf(tmp_path / "saved", params_of(CONFIGS["bert"]), config=CONFIGS["bert"], tokenizer=TOKENIZER)
    return tmp_path / "saved"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, offline, in a folder where no name is a path."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def server(cache, saved, monkeypatch):
    """A hub with the saved model and, as repositories have, the same weights for other programs."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serve() as found:
        found.files = {path.name: path.read_bytes() for path in saved.iterdir()} | {
            "README.md": b"# tiny",
            "pytorch_model.bin": b"pickle",
            "onnx/model.onnx": b"onnx",
            "onnx/config.json": b"{}",
            "openvino/model.safetensors": b"again",
            "1_Pooling/config.json": b"{}",
        }
        template = "{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.url}/{template}")
        yield found


def refusal(name, **options):
    with pytest.raises(UserError) as caught:
        hub.resolve(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("google-bert/bert-base-uncased", ModelId("google-bert/bert-base-uncased")),
        ("gpt2", ModelId("gpt2")),
        ("org/name@v1.0", ModelId("org/name", "v1.0")),
        ("org/name@refs/pr/3", ModelId("org/name", "refs/pr/3")),
        (Path("org/name@v1"), ModelId("org/name", "v1")),
        ("./org/name", Path("org/name")),
        ("../name", Path("../name")),
        ("/org/name", Path("/org/name")),
        ("~/name", Path("~/name")),
        ("a/b/c", Path("a/b/c")),
        ("org/", Path("org")),
        ("name with spaces", Path("name with spaces")),
        ("", Path(".")),
    ],
)
def test_what_is_an_id_and_what_a_path(text, found, cache):
    assert hub.parse(text) == found


def test_what_exists_is_a_path(cache):
    Path("org/name").mkdir(parents=True)
    Path("vocab.txt").write_text("")
    assert hub.parse("org/name") == hub.resolve("org/name") == Path("org/name")
    assert hub.parse("vocab.txt") == Path("vocab.txt")


def test_a_cached_model_loads_offline_by_branch_tag_and_commit(cache, saved):
    snapshot = lay_out(cache, NAME, saved)
    older = lay_out(cache, NAME, saved, commit=OLDER, branch="v1")
    assert hub.resolve(NAME) == hub.resolve(f"{NAME}@main") == hub.resolve(f"{NAME}@{COMMIT}") == snapshot
    assert hub.resolve(f"{NAME}@v1") == hub.resolve(ModelId(NAME, "main", OLDER)) == older
    assert hub.pinned(ModelId(NAME, "v1")) == ModelId(NAME, "v1", OLDER)
    model, expected = bert_jax.load(NAME), bert_jax.load(saved)
    assert model.tokenizer.encode("a cat") == expected.tokenizer.encode("a cat")
    np.testing.assert_array_equal(model.embed(["a cat"]), expected.embed(["a cat"]))


def test_commands_take_an_id(cache, saved, tmp_path, capsys):
    lay_out(cache, NAME, saved)
    assert __main__.main(["predict", "--model", NAME, "--task", "embed", "a cat"]) == 0
    assert '"text": "a cat"' in capsys.readouterr().out
    out = tmp_path / "out"
    assert __main__.main(["export", "--model", f"{NAME}@main", "--format", "hf", "--out", str(out)]) == 0
    assert (out / "model.safetensors").is_file()
    words = ["predict", "--model", f"./{NAME}", "--task", "embed", "a cat"]
    assert __main__.main(words) == 1
    assert f"no such directory: {NAME}; correct the path" in capsys.readouterr().err


def test_offline_without_the_model_is_one_line(cache, saved, capsys):
    assert refusal(NAME).startswith(
        f"no such directory: {NAME}; and the cache of the Hugging Face hub ({cache})"
    )
    assert "HF_HUB_OFFLINE forbids a download" in refusal(NAME)
    lay_out(cache, NAME, saved)
    for absent in (f"{NAME}@v2", f"{NAME}@{OLDER}"):
        assert refusal(absent).startswith(f"no such directory: {absent}; and the cache")
    assert hub.cached(f"{NAME}@v2") is None
    assert __main__.main(["predict", "--model", "org/other", "--task", "embed", "a cat"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_name_that_the_hub_cannot_have_is_one_line(cache):
    for name in ("a--b", "org/model.git", "org/-a"):
        assert refusal(name).startswith(
            f"no such directory: {name}; and no model of the Hugging Face hub can"
        )


def test_a_model_without_safetensors_is_refused_but_its_tokenizer_is_read(cache, saved):
    (saved / "model.safetensors").unlink()
    snapshot = lay_out(cache, NAME, saved)
    assert refusal(NAME).startswith(f"{NAME}: no model.safetensors among its files")
    assert hub.resolve(NAME, tokenizer_only=True) == snapshot


def test_a_download_takes_the_files_that_are_read_and_no_others(server, saved, capsys, monkeypatch):
    folder = hub.resolve(NAME)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == server.downloaded
    assert names == {path.name for path in saved.iterdir()} | {"1_Pooling/config.json"}
    assert folder.name == COMMIT
    server.asked.clear()
    assert hub.resolve(NAME) == folder
    assert server.downloaded == set()
    server.asked.clear()
    assert hub.resolve(f"{NAME}@{COMMIT}") == folder
    assert server.asked == []  # a commit does not change
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.resolve(NAME) == folder
    assert capsys.readouterr() == ("", "")


def test_a_tokenizer_comes_without_the_weights(server, monkeypatch):
    hub.resolve(NAME, tokenizer_only=True)
    assert {"tokenizer.json", "config.json"} <= server.downloaded
    assert not any(name.endswith((".safetensors", ".bin")) for name in server.downloaded)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "are incomplete" in refusal(NAME)


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_unless_quiet(server, quiet, capsys, monkeypatch):
    monkeypatch.setattr(hub, "_DELAY", 0.0)
    level = logging.ERROR if quiet else logging.INFO
    monkeypatch.setattr(logging.getLogger("bert_jax"), "level", level)
    hub.resolve(NAME)
    assert ("Fetching" in capsys.readouterr().err) is not quiet


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (404, "RepoNotFound"),
            f"no such directory: {NAME}; and the Hugging Face hub has no model of that name",
        ),
        ((401, "RepoNotFound"), "for a private model run `hf auth login`"),
        ((403, "GatedRepo"), f"{NAME}: the Hugging Face hub gives this model to its authorised users alone"),
        ((404, "RevisionNotFound"), f"{NAME}: {NAME} has no revision"),
        ((403, ""), "cannot be reached (403 Forbidden"),
    ],
)
def test_what_the_hub_refuses_is_one_line(server, answer, message, caplog):
    server.refusal = answer
    assert message in refusal(NAME)
    assert caplog.messages == []


def test_a_revision_that_the_hub_does_not_have_is_named(server):
    assert refusal(f"{NAME}@v9").startswith(f"{NAME}@v9: {NAME} has no revision 'v9'")


def test_without_a_network_the_cache_serves_and_else_it_is_one_line(cache, saved, monkeypatch, caplog):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached (" in refusal(NAME)
    snapshot = lay_out(cache, NAME, saved)
    assert hub.resolve(NAME) == hub.resolve(f"{NAME}@{COMMIT}") == snapshot
    assert caplog.messages == []


def test_a_vocabulary_by_id_is_one_corpus_wherever_the_cache_is(cache, saved, tmp_path, monkeypatch):
    (saved / "model.safetensors").unlink()  # not needed
    lay_out(cache, NAME, saved)
    config = config_of(tmp_path, tokenizer__path=NAME, tokenizer__vocab_size=TOKENIZER.vocab_size)
    shards, made = prepare(config)
    assert made and deciding_values(config)["tokenizer.path"] == NAME
    shutil.copytree(cache, tmp_path / "moved")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "moved"))
    monkeypatch.chdir(tmp_path)
    assert corpus_folder(config) == shards.folder and prepare(config)[1] is False
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert open_corpus(config).digest == shards.digest
    with pytest.raises(UserError, match=f"no such directory: {NAME}; and the cache"):
        prepare(config)
