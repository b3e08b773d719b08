"""Directories of sentence-transformers: the pooling that they name, and ours as they are laid out."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop import formats
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from tests.interop.small import CONFIGS, TOKENIZER, params_of, variant

OLD = "sentence_transformers.models"
NEW = "sentence_transformers.sentence_transformer.modules"


@pytest.fixture
def folder(tmp_path):
    """An encoder as transformers has it."""
    params = params_of(CONFIGS["bert"], ("bert/pooler",))
    save_hf(tmp_path / "model", params, config=CONFIGS["bert"], tokenizer=TOKENIZER)
    return tmp_path / "model"


def lay_out(folder, pooling, *types):
    """modules.json of these types, and the config of the second."""
    paths = ["", *(f"{i}_{kind.rpartition('.')[2]}" for i, kind in enumerate(types) if i)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(paths, types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def refusal(folder):
    with pytest.raises(UserError) as caught:
        load_hf(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"embedding_dimension": 12, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
@pytest.mark.parametrize("package", [OLD, NEW])
def test_the_pooling_is_read(folder, package, pooling, mode):
    lay_out(folder, pooling, f"{package}.Transformer", f"{package}.Pooling")
    config, params, report = load_hf(folder)
    assert config.head == HeadConfig(kind="embedding", pooling=mode)
    assert dataclasses.replace(config, head=HeadConfig()) == CONFIGS["bert"]
    assert "task_head" not in params and report.notes == ()


def test_what_changes_no_cosine_or_some_texts_alone_is_noted(folder):
    types = (f"{OLD}.Transformer", f"{OLD}.Pooling", f"{OLD}.Normalize")
    lay_out(folder, {"pooling_mode_mean_tokens": True}, *types)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7, "do_lower_case": true}')
    (folder / "config_sentence_transformers.json").write_text('{"default_prompt_name": "query"}')
    config, _, report = load_hf(folder)
    assert config.head.kind == "embedding"
    for said, note in zip(
        ("Normalize is left out", "max_seq_length=7, here", "do_lower_case=True", "prompt_name='query'"),
        report.notes,
        strict=True,
    ):
        assert said in note and "\n" not in note


@pytest.mark.parametrize(
    ("pooling", "extra", "note"),
    [
        ({"pooling_mode_max_tokens": True}, (), "pooling mode max must be cls or mean"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            (),
            "pooling mode cls and mean must be cls or mean",
        ),
        ({"pooling_mode": "lasttoken"}, (), "pooling mode lasttoken must be"),
        ({}, (), "pooling mode none must be"),
        ({"pooling_mode": "mean"}, (f"{OLD}.Dense",), "come from Transformer, Pooling, Dense, here only"),
        ({"pooling_mode": "mean"}, (f"{OLD}.Pooling",), "come from Transformer, Pooling, Pooling"),
    ],
)
def test_vectors_that_are_not_computed_here_are_no_head(folder, pooling, extra, note):
    lay_out(folder, pooling, f"{OLD}.Transformer", f"{OLD}.Pooling", *extra)
    config, _, report = load_hf(folder)
    assert config.head == HeadConfig()
    [said] = report.notes
    assert note in said and "read without an embedding head" in said


def test_a_cross_encoder_is_its_class(folder, tmp_path):
    """Whose modules.json of late says how logits become scores."""
    head = HeadConfig(kind="regression")
    config = variant("bert", head=head)
    params = params_of(config, ("bert/pooler", "task_head"))
    save_hf(tmp_path / "cross", params, config=config, tokenizer=TOKENIZER)
    kinds = ("base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore")
    lay_out(tmp_path / "cross", {}, *(f"sentence_transformers.{kind}" for kind in kinds))
    found, _, report = load_hf(tmp_path / "cross")
    assert (found.head, report.notes) == (head, ())


def test_files_that_cannot_be_read(folder):
    types = (f"{OLD}.Transformer", f"{OLD}.Pooling")
    lay_out(folder, [], *types)
    assert "1_Pooling/config.json: holds a list, must hold an object" in refusal(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    assert "1_Pooling/config.json: no such file, and modules.json has a Pooling module" in refusal(folder)
    modules = [{"path": "", "type": types[0]}, {"path": "../other", "type": types[1]}]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "path '../other' must be the name of a folder beside it" in refusal(folder)
    (folder / "modules.json").write_text("[3]")
    assert "each module must be an object with type and path" in refusal(folder)
    (folder / "modules.json").write_text("{")
    assert "modules.json: not JSON" in refusal(folder)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_an_export_is_laid_out_as_theirs(family, pooling, tmp_path):
    """The files and fields that SentenceTransformer(folder) reads; masked-word heads are left and named."""
    config = variant(family, pooler="none", head=HeadConfig(kind="embedding", pooling=pooling))
    params = params_of(config, ("mlm_head",))
    folder = tmp_path / "a"
    said = formats.export("hf", folder, params, config=config, tokenizer=TOKENIZER)
    assert said.startswith(f"sentence_transformers.SentenceTransformer({str(folder)!r}) opens it")
    assert "left out, for that class has no place for it: mlm_head" in said

    def read(name):
        return json.loads((folder / name).read_text())

    assert read("modules.json") == [
        {"idx": 0, "name": "0", "path": "", "type": f"{OLD}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{OLD}.Pooling"},
    ]
    modes = {key: value for key, value in read("1_Pooling/config.json").items() if key.startswith("pooling")}
    key = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[pooling]
    assert [name for name, is_on in modes.items() if is_on] == [key] and len(modes) == 6
    assert read("1_Pooling/config.json")["word_embedding_dimension"] == 12
    assert read("sentence_bert_config.json") == {"max_seq_length": 9, "do_lower_case": False}
    assert read("config_sentence_transformers.json")["similarity_fn_name"] == "cosine"
    assert read("config.json")["architectures"][0].endswith("Model")
    found, found_params, report = load_hf(folder)
    assert (found, report.notes) == (config, ())
    jax.tree.map(np.testing.assert_array_equal, found_params, {"bert": params["bert"]})
