"""The main job as a user runs it: trained, stopped in every way, resumed, refused."""

import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from bert_jax import api
from bert_jax import config as configs
from bert_jax.commands import pretrain
from bert_jax.errors import ConfigError, Interrupted, UserError
from bert_jax.training import metrics, workdir
from bert_jax.training.metrics import MetricsLog, read_metrics

TIMINGS = ("sequences_per_s", "tokens_per_s", "mfu")


def lines(folder):
    """The metrics of a run without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in TIMINGS}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def assert_same_run(folder, straight):
    assert lines(folder) == lines(straight)
    ours, theirs = (api.load_workdir(path)[1] for path in (folder, straight))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def changed(config, **groups):
    raw = configs.to_dict(config)
    for group, values in groups.items():
        raw[group] = raw[group] | values
    return configs.resolve(raw)


def test_a_run_leaves_what_the_readme_says(straight):
    found = {path.name for path in straight.iterdir()} - {".lock"}
    assert found == {
        "config.json", "metrics.jsonl", "tensorboard", "checkpoints", "tokenizer.json", "vocab.txt", "loss.png",
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
        prepared, train={"steps": 60, "eval_every": 60, "log_every": 60}, optim={"learning_rate": 5e-3}
    )
    pretrain.run(config, tmp_path / "run")
    first, last = (line["mlm_loss"] for line in lines(tmp_path / "run") if line["split"] == "eval")
    assert first == pytest.approx(np.log(128), abs=0.2)
    assert last < first - 1.0  # the corpus has 17 words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_it_saves_and_resumes_to_the_same_run(
    number, prepared, straight, tmp_path, monkeypatch
):
    """At step 6 of 12: neither a multiple of the checkpoint interval nor the end."""
    write = MetricsLog.write

    def write_then_stop(self, step, split, values):
        write(self, step, split, values)
        if step == 6 and split == "train":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(metrics.MetricsLog, "write", write_then_stop)
    with pytest.raises(Interrupted, match=r"at step 6: saved. Resume with: do it again") as stopped:
        pretrain.run(prepared, tmp_path / "run", command="do it again")
    assert stopped.value.exit_status == 128 + number
    monkeypatch.undo()
    pretrain.run(prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", straight)


def test_stopped_within_a_logging_window_it_logs_what_a_straight_run_does(
    prepared, straight, tmp_path, monkeypatch
):
    """Step 5 lies between the train lines of 3 and 6, whose means cover steps before and after."""
    from bert_jax.data.pipeline import Batches

    iterate = Batches.iterate

    def iterate_then_stop(self, start, stop):
        for step, batch in enumerate(iterate(self, start, stop), start):
            if step == 4 and self.split == "train" and stop == 12:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(Batches, "iterate", iterate_then_stop)
    with pytest.raises(Interrupted, match="at step 5"):
        pretrain.run(prepared, tmp_path / "run")
    monkeypatch.undo()
    pretrain.run(prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", straight)


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


def test_another_seed_is_another_run(prepared, straight, tmp_path):
    pretrain.run(configs.resolve(configs.to_dict(prepared) | {"seed": 1}), tmp_path / "r")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "r", straight)


def test_pmap_trains_to_the_same_losses(prepared, straight, tmp_path):
    pretrain.run(changed(prepared, parallel={"mode": "pmap"}), tmp_path / "run")
    for ours, theirs in zip(lines(tmp_path / "run"), lines(straight), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("mlm_loss", "pair_loss", "grad_norm"):
            if name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (name, ours["step"])


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_examples(prepared, tmp_path):
    config = changed(prepared, optim={"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 0.0})
    with pytest.raises(UserError) as failure:
        pretrain.run(config, tmp_path / "run")
    message = str(failure.value)
    match = re.search(
        r"not finite at step (\d+) \(examples (\d+) to (\d+)\); no checkpoint was saved", message
    )
    assert match, message
    step, first, last = map(int, match.groups())
    assert (first, last) == ((step - 1) * 8, step * 8 - 1)
    assert "\n" not in message


def test_after_a_good_checkpoint_it_is_kept_and_named(prepared, straight, tmp_path, monkeypatch):
    """Poisoned from step 10 on: the checkpoint of step 8 stays the last one."""
    from bert_jax.data.pipeline import Batches

    iterate = Batches.iterate

    def poisoned(self, start, stop):
        for step, batch in enumerate(iterate(self, start, stop), start):
            if step >= 9 and self.split == "train":
                batch = batch | {"mlm_weights_BM": batch["mlm_weights_BM"] * np.float32(np.nan)}
            yield batch

    monkeypatch.setattr(Batches, "iterate", poisoned)
    with pytest.raises(
        UserError, match=r"at step 10 \(examples 72 to 79\); the last good checkpoint is step 8"
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
        workdir.claim(tmp_path / "run", prepared, corpus="x"),
        pytest.raises(UserError, match="is in use by another process"),
    ):
        pretrain.run(prepared, tmp_path / "run")


def test_unprepared_text_names_the_command(prepared, tmp_path):
    config = changed(prepared, data={"directory": str(tmp_path)})
    with pytest.raises(UserError, match=r"no prepared corpus at .*: run `bert-jax prepare --config x.py`"):
        pretrain.run(config, tmp_path / "run", experiment="x.py")
    assert not (tmp_path / "run").exists()
