"""Pretraining that goes on from another model: begun, resumed, refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bert_jax import __main__, api
from bert_jax.commands import initial, pretrain
from bert_jax.commands.assembly import Assembly
from bert_jax.config import TokenizerConfig
from bert_jax.errors import ConfigError, Interrupted, UserError
from bert_jax.interop.parameters import flatten
from bert_jax.interop.save import save_hf
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.commands.test_pretrain import assert_same_run, changed, lines, stop_after


@pytest.fixture(scope="module")
def exported(straight, tmp_path_factory):
    """The straight run's last checkpoint as a Hugging Face directory."""
    folder = tmp_path_factory.mktemp("init") / "exported"
    config, params = api.load_workdir(straight)
    save_hf(folder, params, config=config, tokenizer=tokenizers.load(straight))
    return folder


@pytest.fixture(scope="module")
def continued(prepared, exported, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("init") / "continued"
    pretrain.run(prepared, workdir, init=exported)
    return workdir


def test_its_first_loss_is_the_sources_last(continued, straight, exported):
    last = [line for line in lines(straight) if line["split"] == "eval"][-1]
    first = lines(continued)[0]
    assert (first["step"], first["split"]) == (0, "eval")
    for name in ("loss", "mlm_loss", "pair_loss", "mlm_accuracy", "pair_accuracy"):
        assert first[name] == pytest.approx(last[name], rel=1e-6), name
    report = json.loads((continued / "init.json").read_text())
    sizes = [leaf.size for leaf in jax.tree.leaves(api.load_workdir(straight)[1])]
    assert report == {
        "init": str(exported), "taken": {"tensors": len(sizes), "parameters": sum(sizes)}, "resized": [],
        "fresh": {}, "left": {}, "unread": [],
    }  # fmt: skip
    assert json.loads((continued / "config.json").read_text())["init"] == str(exported)


def test_stopped_before_and_after_its_first_checkpoint_it_resumes_to_the_same_run(
    prepared, continued, exported, tmp_path, monkeypatch, capsys
):
    """Only the first command needs --init."""
    with monkeypatch.context() as patch:
        patch.setattr("bert_jax.training.loop.train", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            pretrain.run(prepared, tmp_path / "run", init=exported)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, 15)
        with pytest.raises(Interrupted, match="at step 2: saved"):
            pretrain.run(prepared, tmp_path / "run")
    assert capsys.readouterr().err.count(f"starting from {exported}\n  taken: ") == 2
    pretrain.run(prepared, tmp_path / "run", init=exported / ".." / exported.name)
    assert "starting from" not in capsys.readouterr().err
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


def test_replaced_token_detection_is_refused(prepared, exported, tmp_path):
    config = changed(
        prepared, data={"sentence_objective": "none"}, model={"pooler": "none"}, objective={"name": "rtd"}
    )
    with pytest.raises(
        UserError, match=f"--init {exported} is one encoder, config.objective.name=rtd trains two"
    ):
        pretrain.run(config, tmp_path / "run", init=exported)


@pytest.mark.usefixtures("prepared")
def test_the_command_line_takes_it(experiment, tmp_path, capsys):
    words = ["pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "run")]
    assert __main__.main([*words, "--init", str(tmp_path / "none")]) == 1
    assert f"no such directory: {tmp_path / 'none'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        __main__.main(["pretrain", "--help"])
    assert "a Hugging Face directory or a google-research TF1 checkpoint" in " ".join(
        capsys.readouterr().out.split()
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
    parts = Assembly.of(config)
    state, report = initial.new_state(parts, exported, own)
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
    assert {line.split(":")[0] for line in report.resized} == resized
    rest = [dataclasses.replace(s, params=None) for s in (state, fresh)]
    jax.tree.map(np.testing.assert_array_equal, *rest)


def test_a_fresh_state_has_no_report(prepared, straight):
    state, report = initial.new_state(Assembly.of(prepared), None, tokenizers.load(straight))
    assert report is None
    assert int(state.step) == 0
