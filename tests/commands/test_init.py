"""Pretraining that goes on from another model: begun, resumed, refused."""

import dataclasses
import functools
import json
import logging
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax import __main__, api
from bert_jax.commands import export, predict, pretrain
from bert_jax.config import TokenizerConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.errors import ConfigError, UsageError, UserError
from bert_jax.interop.native import save_native
from bert_jax.interop.save import save_hf
from bert_jax.models import electra as replaced
from bert_jax.models.parameters import flatten
from bert_jax.prediction.inputs import Row
from bert_jax.tasks import initialize
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.load import load_model, load_workdir
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.trainer import Trainer
from tests.commands.test_pretrain import changed
from tests.commands.test_rtd import make_config
from tests.hub_folders import COMMIT, OLDER, lay_out
from tests.runs import assert_same_run, lines, stopped


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level(logging.INFO, "bert_jax")


def said(caplog):
    return "\n".join(caplog.messages)


def begin(config, sources, tokenizer, devices=None):
    """(trainer, the state before step 0, what was taken); `tokenizer` is the run's."""
    task = task_of(config)
    task.tokenizer = tokenizer
    trainer = Trainer.of(task, config, devices)
    return trainer, *trainer.first_state(sources, functools.partial(initialize.start_from, task))


@pytest.fixture(scope="module")
def exported(straight, tmp_path_factory):
    """The straight run's last checkpoint as a Hugging Face directory."""
    folder = tmp_path_factory.mktemp("init") / "exported"
    config, params = load_workdir(straight)
    save_hf(folder, params, config=config, tokenizer=tokenizers.load(straight))
    return folder


@pytest.fixture(scope="module")
def continued(prepared, exported, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("init") / "continued"
    pretrain.run(prepared, workdir, init=exported)
    return workdir


def read_report(workdir):
    return json.loads((workdir / "init.json").read_text())


def test_its_first_loss_is_the_sources_last(continued, straight, exported):
    last = [line for line in lines(straight) if line["split"] == "eval"][-1]
    first = lines(continued)[0]
    assert (first["step"], first["split"]) == (0, "eval")
    for name in ("loss", "mlm_loss", "pair_loss", "mlm_accuracy", "pair_accuracy"):
        assert first[name] == pytest.approx(last[name], rel=1e-6), name
    report = read_report(continued)
    sizes = [leaf.size for leaf in jax.tree.leaves(load_workdir(straight)[1])]
    assert report == {
        "init": str(exported), "taken": {"tensors": len(sizes), "parameters": sum(sizes)}, "grown": [], "resized": [],
        "fresh": {}, "left": {}, "unread": [],
    }  # fmt: skip
    assert json.loads((continued / "config.json").read_text())["init"] == [str(exported)]


def test_stopped_before_and_after_its_first_checkpoint_it_resumes_to_the_same_run(
    prepared, continued, exported, tmp_path, monkeypatch, caplog
):
    """Only the first command needs --init."""
    with monkeypatch.context() as patch:
        patch.setattr("bert_jax.training.trainer.train", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            pretrain.run(prepared, tmp_path / "run", init=exported)
    with stopped(Batches, 2):
        pretrain.run(prepared, tmp_path / "run")
    assert said(caplog).count(f"starting from {exported}\n  taken: ") == 2
    caplog.clear()
    pretrain.run(prepared, tmp_path / "run", init=exported / ".." / exported.name)
    assert "starting from" not in said(caplog)
    assert_same_run(tmp_path / "run", continued)
    assert (tmp_path / "run" / "init.json").read_bytes() == (continued / "init.json").read_bytes()


def test_another_source_is_refused_with_both(prepared, continued, straight, exported):
    with pytest.raises(ConfigError, match=f"--init: {straight} now, {exported} there"):
        pretrain.run(prepared, continued, init=straight)
    with pytest.raises(ConfigError, match=f"--init: {exported} now, none there"):
        pretrain.run(prepared, straight, init=exported)


def test_another_architecture_is_refused_before_there_is_a_workdir(prepared, exported, tmp_path):
    config = changed(prepared, model={"num_layers": 2, "mlp_size": 96})
    with pytest.raises(UserError) as refused:
        pretrain.run(config, tmp_path / "run", init=exported)
    assert str(refused.value) == (
        f"config.model.num_layers=2 must be 1, config.model.mlp_size=96 must be 64 as in {exported}:"
        " set --config.model.num_layers=1 --config.model.mlp_size=64"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("prepared")
def test_the_command_line_takes_it(experiment, tmp_path, capsys):
    words = ["pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "run")]
    assert __main__.main([*words, "--init", str(tmp_path / "none")]) == 1
    assert f"no such directory: {tmp_path / 'none'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        __main__.main(["pretrain", "--help"])
    explained = " ".join(capsys.readouterr().out.split())
    assert "a Hugging Face directory or a google-research TF1 checkpoint" in explained
    assert "or any model, as the discriminator, with --init-generator" in explained
    assert (
        "--init-generator DIR_or_ID with config.objective.name=rtd and an --init that has no generator"
        in explained
    )


@pytest.mark.parametrize(
    ("parallel", "vocab_size", "max_positions"),
    [
        ({"mode": "jit", "fsdp": 4, "tensor": 2}, 144, 600),
        ({"mode": "pmap"}, 100, 40),
    ],
)
def test_tables_are_cut_and_grown_on_every_plan(
    prepared, corpus, straight, exported, parallel, vocab_size, max_positions
):
    """The state is placed as a fresh one; what is not taken is as it was."""
    counts = count_chunks(corpus.read_text().splitlines())
    own = tokenizers.train(counts, TokenizerConfig(vocab_size=vocab_size))
    config = changed(
        prepared, parallel=parallel, tokenizer={"vocab_size": vocab_size},
        model={"vocab_size": vocab_size, "max_positions": max_positions},
    )  # fmt: skip
    parts, state, report = begin(config, (exported,), own)
    fresh = parts.new_state()
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == jax.tree.map(lambda leaf: leaf.sharding, fresh)
    source, made, before = (
        flatten(jax.device_get(p)) for p in (api.load(exported).params, state.params, fresh.params)
    )
    position = "bert/embeddings/position"
    np.testing.assert_array_equal(made[position], np.resize(source[position], made[position].shape))
    theirs = tokenizers.load(straight).backend.get_vocab()
    taken = 0
    for token, row in own.backend.get_vocab().items():
        taken += token in theirs
        origin = source["mlm_head/bias"][theirs[token]] if token in theirs else before["mlm_head/bias"][row]
        assert made["mlm_head/bias"][row] == origin
    assert taken > 60
    resized = {"bert/embeddings/position", "bert/embeddings/token", "mlm_head/bias"}
    for path in made.keys() - resized:
        np.testing.assert_array_equal(made[path], source[path])
    assert {line.split(":")[0] for line in report.encoders[""].resized} == resized
    rest = [dataclasses.replace(s, params=None) for s in (state, fresh)]
    jax.tree.map(np.testing.assert_array_equal, *rest)


def test_a_fresh_state_has_no_report(prepared, straight):
    _, state, report = begin(prepared, (), tokenizers.load(straight))
    assert report is None
    assert int(state.step) == 0


# ---------------------------------------------------------------------------------------------
# From a smaller model
# ---------------------------------------------------------------------------------------------

LARGER = {"hidden_size": 48, "num_heads": 3, "mlp_size": 80, "num_layers": 2}  # of 32, 2, 64 and 1


@pytest.mark.parametrize("parallel", [{"fsdp": 2, "tensor": 1}, {"mode": "pmap"}], ids=str)
def test_a_larger_model_is_filled_with_a_smaller_one(prepared, straight, parallel):
    config = changed(prepared, model=LARGER, init={"growth": "tile"}, parallel=parallel)
    trainer, state, report = begin(config, (straight,), tokenizers.load(straight))
    fresh = trainer.new_state()
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == jax.tree.map(lambda leaf: leaf.sharding, fresh)
    source, made = flatten(jax.device_get(load_workdir(straight)[1])), flatten(jax.device_get(state.params))
    for path in ("bert/embeddings/token", "bert/embeddings/position"):
        np.testing.assert_array_equal(made[path][:, 8:40], source[path])
        np.testing.assert_array_equal(made[path][:, :8], source[path][:, -8:])
        np.testing.assert_array_equal(made[path][:, 40:], source[path][:, :8])
    for layer in (0, 1):
        made_DHK = made[f"bert/encoder/layer_{layer}/attention/query/kernel"]
        source_DHK = source["bert/encoder/layer_0/attention/query/kernel"]
        np.testing.assert_array_equal(made_DHK[8:40], source_DHK[:, [0, 1, 0]])
    [found] = report.encoders.values()
    assert found.to_dict()["grown"] == [
        "hidden_size: 32 -> 48, tiled", "num_layers: 1 -> 2, layers 0,0", "num_heads: 2 -> 3, tiled",
        "mlp_size: 64 -> 80, tiled",
    ]  # fmt: skip
    assert "  grown: num_layers: 1 -> 2, layers 0,0" in report.lines()
    assert (found.fresh, found.left) == ({}, {})


def test_growth_that_cannot_be_is_one_line(prepared, straight, tmp_path, experiment, capsys):
    tile = {"growth": "tile"}
    for groups, init, kind, message in (
        ({"model": LARGER, "init": tile}, None, UsageError, "config.init.growth='tile' needs --init, the smaller"),
        ({"init": tile}, straight, UserError, "config.init.growth='tile' must be 'none', or it does nothing: "),
        (
            {"init": tile, "model": LARGER | {"mlp_size": 60}}, straight, UserError,
            f"{straight}: does not grow into the run's model, whose mlp_size=60 must be >= 64",
        ),
        (
            {"init": tile, "model": LARGER | {"activation": "gelu_tanh"}}, straight, UserError,
            f"config.model.activation=gelu_tanh must be gelu as in {straight}: set --config.model.activation=gelu",
        ),
    ):  # fmt: skip
        with pytest.raises(kind) as refused:
            pretrain.run(changed(prepared, **groups), tmp_path / "run", init=init)
        assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
    words = ["--config", str(experiment), "--workdir", str(tmp_path / "run"), "--config.init.growth=tile"]
    assert __main__.main(["pretrain", *words]) == 2
    assert "needs --init" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------
# Replaced-token detection
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rtd(prepared):
    """As in test_rtd, so that the programs are compiled once; a family that has both heads."""
    return changed(make_config(prepared), model={"family": "electra"})


@pytest.fixture(scope="module")
def pair(rtd, tmp_path_factory):
    """The workdir of a run of two encoders."""
    workdir = tmp_path_factory.mktemp("rtd") / "pair"
    pretrain.run(rtd, workdir)
    return workdir


@pytest.fixture(scope="module")
def two(pair, tmp_path_factory):
    """Its discriminator and its generator, each a Hugging Face directory."""
    folders = [tmp_path_factory.mktemp("two") / name for name in ("discriminator", "generator")]
    for folder in folders:
        export.run(pair, folder, part=folder.name)
    return folders


def held_out(workdir, place):
    line = [line for line in lines(workdir) if line["split"] == "eval"][place]
    return {name: value for name, value in line.items() if name not in ("step", "split")}


@pytest.mark.slow
def test_both_encoders_are_taken_from_a_run(rtd, pair):
    """Bit for bit, placed as fresh ones."""
    parts, state, report = begin(rtd, (pair,), tokenizers.load(pair))
    with Checkpoints(pair / "checkpoints", read_only=True) as checkpoints:
        source = checkpoints.restore_params(parts.abstract_state().params, checkpoints.choose("last"))
    assert jax.tree.map(lambda leaf: leaf.sharding, state.params) == jax.tree.map(
        lambda leaf: leaf.sharding, source
    )
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), jax.device_get(source))
    written = report.to_dict()
    assert written.pop("overruled") == []
    assert written.keys() == {"discriminator", "generator"}
    for name, section in written.items():
        sizes = [leaf.size for leaf in jax.tree.leaves(api.load(pair, part=name).params)]
        assert section == {
            "init": str(pair), "taken": {"tensors": len(sizes), "parameters": sum(sizes)}, "grown": [], "resized": [],
            "fresh": {}, "left": {}, "unread": [],
        }  # fmt: skip


def test_the_generator_of_a_run_fills_masks_where_it_is_asked_for(pair, capsys):
    predict.run(pair, "fill-mask", rows=[Row("the [MASK] cat")], part="generator")
    assert capsys.readouterr().out.startswith("the [MASK] cat\n   ")
    with pytest.raises(UserError, match="no masked-language-model head"):
        predict.run(pair, "fill-mask", rows=[Row("the [MASK] cat")])


def test_both_encoders_are_taken_from_two_directories(rtd, pair, two, tmp_path, monkeypatch, caplog):
    """A run that was killed before its first checkpoint remembers both, and refuses others."""
    workdir, (discriminator, generator) = tmp_path / "run", two
    with monkeypatch.context() as patch:
        patch.setattr("bert_jax.training.trainer.train", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            pretrain.run(rtd, workdir, init=discriminator, init_generator=generator)
    now = f"--init: {generator} --init-generator {discriminator} now"
    with pytest.raises(ConfigError, match=f"{now}, {discriminator} --init-generator {generator} there"):
        pretrain.run(rtd, workdir, init=generator, init_generator=discriminator)
    pretrain.run(rtd, workdir)
    expected = [f"{folder.name}: starting from {folder}\n  taken: " for folder in two]
    printed = said(caplog)
    assert [printed.count(line) for line in expected] == [2, 2] and "shared, and" not in printed
    assert held_out(workdir, 0) == pytest.approx(held_out(pair, -1), rel=1e-6)
    assert held_out(pair, -1)["mlm_loss"] < held_out(pair, 0)["mlm_loss"] - 0.1
    sources = {name: part["init"] for name, part in read_report(workdir).items() if name != "overruled"}
    assert sources == {folder.name: str(folder) for folder in two}


def test_both_encoders_grow(rtd, pair):
    """The generator of half the heads too; the tables that they share are one."""
    config = changed(
        rtd,
        init={"growth": "tile"},
        model={"hidden_size": 64, "num_heads": 4, "mlp_size": 128, "num_layers": 2},
    )
    _, state, report = begin(config, (pair,), tokenizers.load(pair), jax.devices()[:1])
    made = jax.device_get(state.params)
    sources = {name: api.load(pair, part=name).params for name in ("discriminator", "generator")}
    for name, width in (("discriminator", 32), ("generator", 16)):
        kernel_DF = flatten(made[name])["bert/encoder/layer_1/mlp_in/kernel"]
        source_DF = flatten(sources[name])["bert/encoder/layer_0/mlp_in/kernel"]
        start = width // 2
        np.testing.assert_array_equal(kernel_DF[start:-start, width:-width], source_DF)
        assert any(line.startswith("num_layers: 1 -> 2") for line in report.encoders[name].grown)
    table = flatten(made["discriminator"])["bert/embeddings/token"]
    np.testing.assert_array_equal(
        table[:, 16:-16], flatten(sources["discriminator"])["bert/embeddings/token"]
    )
    assert report.overruled == ()


@pytest.mark.parametrize("sharing", ["shared", "disentangled"])
def test_sources_that_do_not_agree(rtd, two, tmp_path, sharing):
    """Shared: the discriminator's tables stand, and the report tells which the generator loses.
    Disentangled: each keeps its own. Heads that are not there are fresh."""
    generator, params, tokenizer, _ = load_model(two[1])
    params["bert"]["embeddings"]["token"] = params["bert"]["embeddings"]["token"] + 1
    save_native(tmp_path / "other", params, config=generator, tokenizer=tokenizer)
    encoder, theirs, _, _ = load_model(two[0])
    save_native(tmp_path / "encoder", {"bert": theirs["bert"]}, config=encoder, tokenizer=tokenizer)

    config, sources = changed(rtd, objective={"embedding_sharing": sharing}), ("encoder", "other")
    _, state, report = begin(config, tuple(tmp_path / name for name in sources), tokenizer, jax.devices()[:1])
    state = jax.device_get(state.params)
    assert report.encoders["discriminator"].fresh.keys() == {"rtd_head"}
    assert report.encoders["generator"].fresh == {}
    is_shared = sharing == "shared"
    assert report.overruled == (("bert/embeddings/token",) if is_shared else ())
    assert (
        any("bert/embeddings/token (the discriminator's is taken)" in s for s in report.lines()) == is_shared
    )
    if is_shared:
        params["bert"]["embeddings"]["token"] = theirs["bert"]["embeddings"]["token"]
    made = replaced.generator_params(state, sharing)
    jax.tree.map(np.testing.assert_array_equal, made, dict(params))
    made = replaced.discriminator_params(state, sharing)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), made["bert"], theirs["bert"])
    assert np.all(made["rtd_head"]["dense"]["bias"] == 0) and np.any(theirs["rtd_head"]["dense"]["bias"] != 0)


def test_flags_that_do_not_fit_each_other_are_refused(prepared, rtd, pair, two, tmp_path):
    for config, flags, message in (
        (rtd, {"init": two[0]}, f"--init {two[0]} is one encoder, config.objective.name=rtd trains two: give"),
        (rtd, {"init": pair, "init_generator": two[1]}, f"leave out --init-generator {two[1]}"),
        (rtd, {"init_generator": two[1]}, f"--init-generator {two[1]} needs --init"),
        (
            prepared, {"init": two[0], "init_generator": two[1]},
            f"--init-generator {two[1]} needs config.objective.name=rtd, it is mlm",
        ),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=re.escape(message)) as refused:
            pretrain.run(config, tmp_path / "run", **flags)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_size_is_refused_with_the_options_that_mend_it(rtd, pair, two, tmp_path):
    discriminator, generator = two
    for changes, flags, message in (
        (
            {"model": {"mlp_size": 96}}, {"init": pair},
            f"config.model.mlp_size=96 must be 64 as in discriminator {pair}: set --config.model.mlp_size=64",
        ),
        (
            {"objective": {"generator_width": 1.0}}, {"init": discriminator, "init_generator": generator},
            "the generator's hidden_size=32 must be 16, embedding_size=0 must be 32, num_heads=2 must be 1,"
            f" mlp_size=64 must be 32 as in {generator}: set --config.objective.generator_width=0.5"
            " --config.objective.generator_depth=1.0",
        ),
        (
            {"objective": {"embedding_sharing": "none"}}, {"init": pair},
            f"the generator's embedding_size=0 must be 32 as in {pair}: no config.objective.generator_width and"
            " generator_depth make it so beside this discriminator with config.objective.embedding_sharing=none:"
            " choose another",
        ),
    ):  # fmt: skip
        with pytest.raises(UserError) as refused:
            pretrain.run(changed(rtd, **changes), tmp_path / "run", **flags)
        assert str(refused.value) == message
    assert not (tmp_path / "run").exists()


def test_a_workdir_of_before_there_were_two_tells_its_one_source(tmp_path):
    for written, read in (("null", ()), ('"a/b"', (Path("a/b"),)), ('["a", "b"]', (Path("a"), Path("b")))):
        (tmp_path / "config.json").write_text(f'{{"config": {{}}, "corpus": "x", "init": {written}}}')
        assert workdirs.read(tmp_path).init == read


@pytest.mark.parametrize("text", ["null", "3", '"corpus"', "[]", "{", '{"model_type": "bert"}'])
def test_a_config_json_that_is_no_runs_is_no_workdir(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert not workdirs.is_workdir(tmp_path)


# ---------------------------------------------------------------------------------------------
# From a model of the hub
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_run_remembers_an_id_with_its_commit_and_takes_the_id_again(
    prepared, continued, exported, cache, tmp_path, monkeypatch, caplog
):
    lay_out(cache, "org/tiny", exported)
    with stopped(Batches, 2):
        pretrain.run(prepared, tmp_path / "run", init="org/tiny")
    assert f"starting from org/tiny@{COMMIT}" in said(caplog)
    remembered = {"name": "org/tiny", "revision": "", "commit": COMMIT}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init"] == [remembered]
    assert read_report(tmp_path / "run") == read_report(continued) | {"init": f"org/tiny@{COMMIT}"}
    # The branch moves, the cache is gone: it is the same run all the same.
    shutil.rmtree(cache)
    for name in (f"org/tiny@{COMMIT}", "org/tiny"):
        with pytest.raises(ConfigError) as refused:
            pretrain.run(dataclasses.replace(prepared, seed=9), tmp_path / "run", init=name)
        assert "config.seed" in str(refused.value) and "--init" not in str(refused.value)
    for other in ("org/other", "org/tiny@v1", exported):
        with pytest.raises(ConfigError) as refused:
            pretrain.run(prepared, tmp_path / "run", init=other)
        assert f"--init: {other} now, org/tiny@{COMMIT} there" in str(refused.value)
    pretrain.run(prepared, tmp_path / "run", init="org/tiny")
    assert_same_run(tmp_path / "run", continued)


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_with_the_same_commit(
    prepared, exported, cache, tmp_path, monkeypatch, caplog
):
    lay_out(cache, "org/tiny", exported)
    with monkeypatch.context() as patch:
        patch.setattr("bert_jax.training.trainer.train", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            pretrain.run(prepared, tmp_path / "run", init="org/tiny@main")
    caplog.clear()
    moved = lay_out(cache, "org/tiny", exported, commit=OLDER)
    (moved / "model.safetensors").write_bytes(b"another")
    with stopped(Batches, 2):
        pretrain.run(prepared, tmp_path / "run", init="org/tiny@main")
    assert f"starting from org/tiny@{COMMIT}" in said(caplog)


def test_an_id_that_cannot_be_had_leaves_no_workdir(prepared, cache, tmp_path):
    with pytest.raises(UserError, match=r"^no such directory: org/none; and the cache"):
        pretrain.run(prepared, tmp_path / "run", init="org/none")
    assert not (tmp_path / "run").exists()
