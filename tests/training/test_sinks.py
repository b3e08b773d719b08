"""Metrics go to every sink that the configuration names, with the numbers of metrics.jsonl."""

import sys

import pytest
import tensorflow as tf
from tensorboardX.proto import event_pb2

from bert_jax.config import LogConfig
from bert_jax.errors import UserError
from bert_jax.training.metrics import MetricsLog
from bert_jax.training.sinks import open_sinks


def write(workdir, log, *, resume_step=None, steps=(1, 2, 3)):
    first = 0 if resume_step is None else resume_step + 1
    sinks = open_sinks(log, workdir, first_step=first, config={"seed": 3})
    lines = MetricsLog(workdir, resume_step=resume_step, sinks=sinks)
    for step in steps:
        lines.write(step, "train", {"loss": 1.0 / step})
    lines.close()


def scalars(folder, name="train/loss"):
    """Step -> value, of all event files in their order; a purge drops what came before it."""
    found = {}
    for file in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            if event.session_log.status == event_pb2.SessionLog.START:
                begin = event.step
                found = {step: value for step, value in found.items() if step < begin}
            for value in event.summary.value:
                if value.tag == name:
                    found[event.step] = value.simple_value
    return found


def test_tensorboard_has_each_step_once_also_after_a_resume(tmp_path):
    write(tmp_path, LogConfig())
    write(tmp_path, LogConfig(), resume_step=2, steps=(3, 4))
    assert scalars(tmp_path / "tensorboard") == pytest.approx({1: 1.0, 2: 1 / 2, 3: 1 / 3, 4: 1 / 4})


def test_without_sinks_metrics_jsonl_alone_is_written(tmp_path):
    write(tmp_path, LogConfig(sinks=()))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_weights_and_biases_offline_writes_into_the_workdir_and_keeps_its_id(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = LogConfig(sinks=("wandb",), wandb_mode="offline")
    write(tmp_path, log)
    run_id = (tmp_path / "wandb_id").read_text().strip()
    write(tmp_path, log, resume_step=2, steps=(3,))
    assert (tmp_path / "wandb_id").read_text().strip() == run_id
    runs = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}"))
    assert runs
    data = b"".join(file.read_bytes() for run in runs for file in run.glob("*.wandb"))
    assert b"train/loss" in data and b"bert_jax" in data


def test_a_library_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"config.log.sinks=wandb needs Weights & Biases: pip install"):
        open_sinks(LogConfig(sinks=("wandb",)), tmp_path, first_step=0, config={})
