"""The main job as a user runs it: trained, stopped in every way, resumed, refused."""

import dataclasses
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.batch import Host
from bert_jax.commands import evaluate, pretrain
from bert_jax.config import PhaseConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.prepare import prepare
from bert_jax.errors import ConfigError, UserError
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.load import load_workdir
from bert_jax.training import workdir
from bert_jax.training.metrics import read_metrics
from tests.runs import assert_same_run, lines, stopped

NO_DROPOUT = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}  # compiles in less time


def changed(config, **groups):
    raw = configs.to_dict(config)
    for group, values in groups.items():
        raw[group] = raw[group] | values
    return configs.resolve(raw)


def test_a_run_leaves_what_the_readme_says(straight):
    found = {path.name for path in straight.iterdir()} - {
        ".lock",
        "probes.json",
        "probes.npz",
    }  # others probe it
    assert found == {
        "config.json", "metrics.jsonl", "tensorboard", "checkpoints", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt", "loss.png",
    }  # fmt: skip
    assert (straight / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((straight / "tensorboard").iterdir())
    train = [line for line in read_metrics(straight / "metrics.jsonl") if line["split"] == "train"]
    assert [line["step"] for line in train] == [3, 6, 9, 12]
    assert {
        "loss", "mlm_loss", "mlm_accuracy", "pair_loss", "pair_accuracy", "grad_norm", "learning_rate",
        "sequences_per_s", "tokens_per_s", "mfu",
    } <= train[0].keys()  # fmt: skip
    assert train[0]["loss"] == pytest.approx(train[0]["mlm_loss"] + train[0]["pair_loss"], rel=1e-5)
    evaluated = [line["step"] for line in lines(straight) if line["split"] == "eval"]
    assert evaluated == [0, 6, 12]


def test_it_learns(prepared, tmp_path):
    config = changed(
        prepared,
        train={"steps": 40, "eval_every": 40, "log_every": 40},
        optim={"learning_rate": 5e-3},
        model=NO_DROPOUT,
    )
    pretrain.run(config, tmp_path / "run")
    first, last = (line["mlm_loss"] for line in lines(tmp_path / "run") if line["split"] == "eval")
    assert first == pytest.approx(np.log(128), abs=0.2)
    assert last < first - 1.0  # the corpus has 17 words


def test_stopped_by_either_signal_it_saves_and_resumes_to_the_same_run(prepared, straight, tmp_path):
    """At step 5, between the train lines of 3 and 6, whose means cover steps before and after; and at
    step 9, which has a line. Neither is a multiple of the checkpoint interval or the end."""
    for step, number in ((5, signal.SIGTERM), (9, signal.SIGINT)):
        with stopped(Batches, step, number) as found:
            pretrain.run(prepared, tmp_path / "run", command="do it again")
        assert str(found.value).endswith(f"at step {step}: saved. Resume with: do it again")
        assert found.value.exit_status == 128 + number
    pretrain.run(prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.slow
def test_killed_it_resumes_to_the_same_run(experiment, prepared, straight, tmp_path):
    """SIGKILL of a real process once two checkpoints may be under way."""
    folder = tmp_path / "run"
    slow = (  # a pause after each line of metrics leaves time to be killed in
        "import sys, time; from bert_jax.training.metrics import MetricsLog; from bert_jax import __main__ as m;"
        "w = MetricsLog.write; MetricsLog.write = lambda *a: (w(*a), time.sleep(0.5))[0];"
        "sys.exit(m.main(sys.argv[1:]))"
    )
    arguments = ["pretrain", "--config", str(experiment), "--workdir", str(folder)]
    with subprocess.Popen([sys.executable, "-c", slow, *arguments], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(
            line["step"] >= 9 for line in read_metrics(folder / "metrics.jsonl")
        ):
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    pretrain.run(prepared, folder)
    assert_same_run(folder, straight)


def test_a_finished_run_again_changes_nothing(prepared, straight, capsys):
    before = (straight / "metrics.jsonl").read_bytes()
    pretrain.run(prepared, straight)
    assert (straight / "metrics.jsonl").read_bytes() == before


@pytest.fixture(scope="module")
def phased(prepared):
    """Rows of 16, then of 32."""
    train = {"steps": 6, "log_every": 2, "eval_every": 4, "eval_batches": 1}
    parts = (PhaseConfig(share=0.5, sequence_length=16), PhaseConfig(share=0.5))
    return dataclasses.replace(changed(prepared, train=train, model=NO_DROPOUT), phases=parts)


@pytest.fixture(scope="module")
def phased_straight(phased, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("phased") / "straight"
    pretrain.run(phased, workdir)
    return workdir


def test_two_lengths_are_trained_one_after_the_other(phased, phased_straight):
    found = [(line["step"], line["split"], line["sequence_length"]) for line in lines(phased_straight)]
    assert found == [
        (0, "eval", 16), (2, "train", 16), (3, "train", 16), (3, "eval", 16),
        (4, "train", 32), (4, "eval", 32), (6, "train", 32), (6, "eval", 32),
    ]  # fmt: skip
    params = load_workdir(phased_straight)[1]
    positions = params["bert"]["embeddings"]["position"]
    before = load_workdir(phased_straight, checkpoint="3")[1]["bert"]["embeddings"]["position"]
    decay = (1 - phased.optim.learning_rate * phased.optim.weight_decay) ** 3
    np.testing.assert_allclose(positions[32:], before[32:], atol=np.abs(before).max() * (1 - decay))
    assert np.abs(positions[16:32] - before[16:32]).max() > 1e-4  # learnt in the second phase alone


@pytest.mark.slow
def test_stopped_in_each_phase_it_resumes_to_the_same_run(phased, phased_straight, tmp_path):
    for step in (2, 5):
        with stopped(Batches, step):
            pretrain.run(phased, tmp_path / "run")
    pretrain.run(phased, tmp_path / "run")
    assert_same_run(tmp_path / "run", phased_straight)


def test_a_two_length_run_is_evaluated_at_its_full_length(phased_straight):
    found = evaluate.run(phased_straight)
    last = lines(phased_straight)[-1]
    assert found["step"] == last["step"] == 6
    assert found["mlm_loss"] == pytest.approx(last["mlm_loss"], abs=0.3)  # over more batches


def test_another_seed_is_another_run(prepared, straight, tmp_path):
    pretrain.run(configs.resolve(configs.to_dict(prepared) | {"seed": 1}), tmp_path / "r")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "r", straight)


@pytest.mark.slow
def test_pmap_trains_to_the_same_losses(prepared, straight, tmp_path):
    pretrain.run(changed(prepared, parallel={"mode": "pmap"}), tmp_path / "run")
    for ours, theirs in zip(lines(tmp_path / "run"), lines(straight), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("mlm_loss", "pair_loss", "grad_norm"):
            if name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (name, ours["step"])


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_examples(prepared, tmp_path):
    optim = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 0.0}
    config = changed(prepared, optim=optim, model=NO_DROPOUT)
    with pytest.raises(UserError) as failure:
        pretrain.run(config, tmp_path / "run")
    message = str(failure.value)
    match = re.search(
        r"not finite at step (\d+): .*grad_norm.*? \(examples (\d+) to (\d+)\); no checkpoint was saved",
        message,
    )
    assert match, message
    step, first, last = map(int, match.groups())
    assert (first, last) == ((step - 1) * 8, step * 8 - 1)
    assert "\n" not in message


def test_after_a_good_checkpoint_it_is_kept_and_named(prepared, straight, tmp_path, monkeypatch):
    """Poisoned from step 10 on: the checkpoint of step 8 stays the last one."""
    iterate = Batches.iterate

    def poisoned(self, start, stop):
        for step, batch in enumerate(iterate(self, start, stop), start):
            if step >= 9 and self.split == "train":
                batch = batch | {"mlm_weights_BM": batch["mlm_weights_BM"] * np.float32(np.nan)}
            yield batch

    monkeypatch.setattr(Batches, "iterate", poisoned)
    with pytest.raises(
        UserError, match=r"at step 10: .*\(examples 72 to 79\); the last good checkpoint is step 8"
    ):
        pretrain.run(prepared, tmp_path / "run")
    monkeypatch.undo()
    pretrain.run(prepared, tmp_path / "run")  # without the poison it goes on
    assert_same_run(tmp_path / "run", straight)


def test_a_workdir_of_another_config_is_refused_with_the_values(prepared, straight):
    config = changed(prepared, optim={"learning_rate": 5e-4}, train={"batch_size": 16})
    before = (straight / "config.json").read_bytes()
    with pytest.raises(ConfigError) as refused:
        pretrain.run(config, straight)
    assert "config.optim.learning_rate: 0.0005 now, 0.001 there" in str(refused.value)
    assert "config.train.batch_size: 16 now, 8 there" in str(refused.value)
    assert (straight / "config.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused(prepared, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"is not empty and has no config\.json"):
        pretrain.run(prepared, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_in_one_workdir_are_refused(prepared, tmp_path):
    with (
        workdir.claim(tmp_path / "run", prepared, identity={"corpus": "x"}),
        pytest.raises(UserError, match="is in use by another process"),
    ):
        pretrain.run(prepared, tmp_path / "run")


def test_unprepared_text_names_the_command(prepared, tmp_path):
    config = changed(prepared, data={"directory": str(tmp_path)})
    with pytest.raises(UserError, match=r"no prepared corpus at .*: run `bert-jax prepare --config x.py`"):
        pretrain.run(config, tmp_path / "run", experiment="x.py")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_pairs_of_documents_of_one_sentence_are_refused_before_training(prepared, objective, tmp_path):
    """None has a second segment, so the pair head would stay as it was drawn."""
    (tmp_path / "text.txt").write_text("\n\n".join(f"Note {n} is short." for n in range(60)))
    data = {"path": str(tmp_path / "text.txt"), "directory": str(tmp_path), "sentence_objective": objective}
    config = changed(prepared, data=data)
    prepare(config)
    with pytest.raises(
        UserError, match=f"sentence_objective='{objective}' has nothing to train on: no example"
    ):
        pretrain.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    labelled = changed(prepared, data=data | {"quirks": ("lone_is_random",), "boundaries": "cut"})
    assert task_of(labelled).batches("train", task_of(labelled).phases[0], Host()) is not None
