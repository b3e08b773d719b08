"""Whole runs of every task on eight devices in every mode, and on fewer after a stop: what they compute is the same."""

import contextlib
import functools
import hashlib

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.commands import distill, finetune, pretrain
from bert_jax.config import DistilPretrainConfig, FinetuneConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.tasks.load import load_workdir
from tests import labelled
from tests.runs import assert_alike, lines, on, stopped
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow

MODES = {
    "pmap": {"mode": "pmap"},
    "data": {"shard_optimizer": True},
    "mesh": {"data": 2, "fsdp": 2, "tensor": 2},
}
STEPS = 20
DROPOUT = {"dropout_rate": 0.1, "attention_dropout_rate": 0.1}
TRAIN = {"steps": STEPS, "batch_size": 16, "log_every": 1, "eval_every": 10, "eval_batches": 1}


def changed(config, kind=None, **groups):
    raw = configs.to_dict(config)
    for group, values in groups.items():
        raw[group] = {**raw.get(group, {}), **values}
    return configs.resolve(raw, kind or type(config))


def packed(prepared, data=None, model=None, **groups):
    """Pairs, three in a row, in two micro-batches, through scanned layers of which attention is computed again."""
    model = DROPOUT | {"num_layers": 2, "layers": "scan", "remat": "attention"} | (model or {})
    return changed(
        prepared, model=model, data={"packing": 3} | (data or {}), train=TRAIN | {"accumulate": 2}, checkpoint={"every": 20},
        log={"sinks": ()}, **groups,
    )  # fmt: skip


class Task:
    """How each task is run, `parallel` apart."""

    def __init__(self, prepared, straight, folder):
        self._prepared, self._straight = prepared, straight
        values = {
            "task__max_length": 24,
            "train__steps": STEPS,
            "train__batch_size": 12,
            "train__log_every": 1,
        }
        self._experiment = str(labelled.write(folder, **values))
        self._model = save_tiny(folder / "model", labelled.WORDS, num_layers=2, **DROPOUT)

    def pretraining(self, workdir, parallel):
        pretrain.run(packed(self._prepared, parallel=parallel), workdir)

    def replaced_tokens(self, workdir, parallel):
        config = packed(
            self._prepared, parallel=parallel, objective={"name": "rtd", "generator_width": 0.5},
            data={"sentence_objective": "none"}, model={"num_heads": 4},
        )  # fmt: skip
        pretrain.run(config, workdir)

    def distillation(self, workdir, parallel):
        weights = {"soft": 1.0, "hidden_mse": 1.0, "attention_kl": 1.0}
        config = packed(
            self._prepared,
            kind=DistilPretrainConfig,
            parallel=parallel,
            model={"num_layers": 1},
            distil=weights,
        )
        distill.run(config, workdir, teachers=[self._straight])

    def classification(self, workdir, parallel):
        """Examples that share rows, of which a device has more than another."""
        config = changed(configs.load(self._experiment, kind=FinetuneConfig), parallel=parallel)
        finetune.run(config, workdir, init=self._model)


@pytest.fixture(scope="module")
def task(prepared, straight, tmp_path_factory):
    return Task(prepared, straight, tmp_path_factory.mktemp("labelled"))


@functools.cache
def alone(task, name, folder):
    with on(1):
        getattr(task, name)(folder / name, {})
    return folder / name


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


def assert_close(workdir, reference, rel=2e-4, atol=2e-4):
    """Each line, with its gradient norm, and the parameters at the end: equal to rounding."""
    assert_alike(lines(workdir), lines(reference), rel, least=2e-6)
    ours, theirs = (load_workdir(path)[1] for path in (workdir, reference))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=atol), ours, theirs)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("pretraining", mode) for mode in MODES),
        ("replaced_tokens", "mesh"),
        ("distillation", "pmap"),
        ("distillation", "mesh"),
        ("classification", "data"),
        ("classification", "mesh"),
    ],
)
def test_twenty_steps_on_eight_devices_are_those_of_one(name, mode, task, references, tmp_path):
    getattr(task, name)(tmp_path / "run", MODES[mode])
    assert_close(tmp_path / "run", alone(task, name, references))


@contextlib.contextmanager
def noted(seen):
    """Keeps a digest of each training batch that is made inside as {step: digest}."""
    iterate = Batches.iterate

    def note(self, start, stop):
        for step, batch in enumerate(iterate(self, start, stop), start):
            if self.split == "train":
                digest = hashlib.sha256(b"".join(batch[name].tobytes() for name in sorted(batch))).digest()
                assert seen.setdefault(step, digest) == digest
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "iterate", note)
        yield


def test_saved_on_eight_devices_a_run_goes_on_with_two_and_ends_with_one(task, references, tmp_path):
    run, seen, expected = tmp_path / "run", {}, {}
    with noted(seen):
        for devices, mesh, step in ((8, MODES["mesh"], 7), (2, MODES["pmap"], 13)):
            with on(devices), stopped(Batches, step):
                task.pretraining(run, mesh)
        with on(1):
            task.pretraining(run, {})
    with on(1), noted(expected):
        task.pretraining(tmp_path / "straight", {})
    assert seen == expected and seen.keys() == set(range(STEPS))
    assert_close(run, tmp_path / "straight")
