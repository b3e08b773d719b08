"""A teacher's scores of labelled data, kept by example: a run with them is that with the teacher."""

import json

import jax
import numpy as np
import optax
import pytest

from bert_jax import config as configs
from bert_jax.batch import Host
from bert_jax.config import DistilFinetuneConfig
from bert_jax.errors import ConfigError
from bert_jax.interop import native
from bert_jax.tasks.distill import distill
from bert_jax.tasks.distillation import Distillation
from bert_jax.tasks.finetune import open_task
from bert_jax.tasks.load import load_model
from bert_jax.tasks.teacher_cache import TeacherProgram
from bert_jax.tasks.teachers import Found
from tests.runs import lines
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow  # each compiles for a minute or more

WORDS = ["good", "bad", "film", "plot", "the", "a", "was", "is", "very", "and", "."]
KINDS = ("classification", "multilabel", "regression", "tagging", "question_answering", "similarity")
CACHE = {"cache": True, "cache_type": "float32"}


def text(rng, most=12):
    return " ".join(rng.choice(WORDS, rng.integers(1, most)))


def rows_of(kind, count, seed):
    rng = np.random.default_rng(seed)
    for number in range(count):
        one = text(rng)
        yield {
            "classification": {"text": one, "label": str(rng.choice(["neg", "pos", "so"]))},
            "multilabel": {"text": one, "labels": [n for n in ("x", "y") if rng.integers(2)]},
            "regression": {"text": one, "score": float(rng.normal())},
            "tagging": {"tokens": one.split(), "tags": [str(rng.choice(["A", "B"])) for _ in one.split()]},
            "question_answering": {
                "id": str(number), "question": "is the plot good", "context": f"{text(rng, 40)} film",
                "answers": {"text": ["film"], "answer_start": [0]},
            },
            "similarity": {"text": one, "text_pair": text(rng), "score": float(rng.random())},
        }[kind]  # fmt: skip


def with_starts(row):
    """A question's row with the place of its answer."""
    if "context" in row:
        row["answers"]["answer_start"] = [row["context"].index("film")]
    return row


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data of every kind, the model that students begin as, and two teachers of each kind."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS, num_layers=1)
    save_tiny(folder / "larger", WORDS, num_layers=2, initializer_range=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        for kind in KINDS:
            for part, count in (("train", 30), ("dev", 11)):
                written = (json.dumps(with_starts(row)) for row in rows_of(kind, count, seed=len(part)))
                (folder / f"{kind}-{part}.jsonl").write_text("\n".join(written) + "\n")
            task = open_task(config_of(folder, kind), folder / "none", (folder / "larger",))
            for seed in (0, 1):
                native.save_native(
                    folder / f"{kind}{seed}", task.init(jax.random.key(seed)), config=task.model,
                    tokenizer=task.tokenizer,
                )  # fmt: skip
    return folder


def config_of(made, kind, distil=None, **groups) -> DistilFinetuneConfig:
    columns = {"multilabel": {"label": "labels"}, "regression": {"label": "score"}}
    raw = {
        "task": {
            "kind": kind, "train": str(made / f"{kind}-train.jsonl"), "eval": str(made / f"{kind}-dev.jsonl"),
            "max_length": 24, **columns.get(kind, {}),
        },
        "model": {"head_dropout_rate": 0.0} if kind != "similarity" else {},
        "train": {"batch_size": 8, "epochs": 2.0, "log_every": 1},
        "log": {"sinks": ()},
        "distil": {"soft": 1.0, **(distil or {})},
    }  # fmt: skip
    for group, values in groups.items():
        raw[group] = raw.get(group, {}) | values if isinstance(values, dict) else values
    return configs.resolve(raw, DistilFinetuneConfig)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


@pytest.fixture
def calls(monkeypatch):
    """Grows by one each time that a teacher computes."""
    found, compute = [], TeacherProgram.__call__

    def counted(self, batch):
        found.append(self)
        return compute(self, batch)

    monkeypatch.setattr(TeacherProgram, "__call__", counted)
    return found


def task_of(made, kind, distil=None, teachers=(0,), **groups):
    config = config_of(made, kind, distil, **groups)
    student = open_task(config, made / "none", (made / "model",))
    paths = [made / f"{kind}{seed}" for seed in teachers]
    return Distillation(student, [Found(path, load_model(path)) for path in paths])


def losses_of(task):
    """Sums of a batch of the first and of the second epoch and of one held out, with the gradient's norm."""
    objective, constants = task.objective, task.constants()

    def loss(params, batch):
        return objective.loss(params, constants, batch, None, objective.weights(batch))

    @jax.jit
    def program(params, batch):
        (_, sums), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        return {**sums, "grad_norm": (optax.tree.norm(grads), 1.0)}

    params, phase = task.init(jax.random.key(3)), task.phases[0]
    source = task.batches("train", phase, Host(multiple=8))
    batches = [next(source.iterate(0, 1)), next(source.iterate(source.count + 1, source.count + 2))]
    batches += task.batches("eval", phase, Host(multiple=8)).iterate(0, 1)
    return [jax.device_get(program(params, batch)) for batch in batches]


def assert_alike(found, expected, rel):
    for sums, others in zip(found, expected, strict=True):
        assert sums.keys() == others.keys() and sums["soft_loss"][0] > 0
        for name in sums:
            np.testing.assert_allclose(sums[name], others[name], rtol=rel, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_every_kind_are_those_with_the_teacher(kind, made, calls):
    teachers = (0, 1) if kind == "classification" else (0,)  # two are averaged
    expected = losses_of(task_of(made, kind, teachers=teachers))
    assert calls == []
    task = task_of(made, kind, CACHE, teachers)
    assert task.constants() == {}
    assert_alike(losses_of(task), expected, 1e-4 if kind == "similarity" else 1e-5)
    assert len(calls) > 0
    computed, size = len(calls), task.cache.bytes
    again = task_of(made, kind, CACHE, teachers, seed=1, task={"batching": "pad"})  # in whatever rows
    next(again.batches("train", again.phases[0], Host()).iterate(0, 1))
    assert len(calls) == computed and again.cache.bytes == size


def test_what_half_precision_changes(made):
    """Scores of about 0.5 differ by 2e-4 at most, the losses by 5e-3."""
    expected = losses_of(task_of(made, "multilabel"))
    half = losses_of(task_of(made, "multilabel", {"cache": True}))
    assert_alike(half, expected, 5e-3)
    with pytest.raises(AssertionError):
        assert_alike(half, expected, 1e-5)


def run(made, workdir, distil):
    distill(config_of(made, "tagging", distil), workdir, teachers=[made / "tagging0"], init=made / "model")
    return lines(workdir)


def test_a_second_run_reads_all_and_a_damaged_file_is_made_again(made, tmp_path, calls, caplog):
    caplog.set_level("INFO", "bert_jax")
    first = run(made, tmp_path / "first", CACHE)
    computed = len(calls)
    assert run(made, tmp_path / "second", CACHE) == first and len(calls) == computed
    assert "sequences computed 0, read 41" in caplog.messages[-1]
    for path in tmp_path.glob("data/teachers/*/*.npz"):
        path.write_bytes(path.read_bytes()[:-30])
    assert run(made, tmp_path / "third", CACHE) == first and len(calls) == 2 * computed
    for path in tmp_path.glob("data/teachers/*/*.npz"):
        path.unlink()
    assert run(made, tmp_path / "fourth", {**CACHE, "cache_gigabytes": 1e-6}) == first
    assert len(calls) == 3 * computed and not list(tmp_path.glob("data/teachers/*/*.npz"))


def folders_of(task):
    assert task.phases
    return {path.name for path in task.cache._files}


def test_the_folders_are_of_the_teacher_and_the_examples(made):
    folders = folders_of(task_of(made, "classification", CACHE))
    assert len(folders) == 2
    assert folders_of(task_of(made, "classification", CACHE, train={"batch_size": 4})) == folders
    assert not folders & folders_of(task_of(made, "classification", CACHE, teachers=(1,)))
    fewer = folders_of(task_of(made, "classification", CACHE, task={"max_train_examples": 20}))
    assert len(fewer & folders) == 1  # the held-out ones are the same


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        ({"hidden_mse": 1.0}, r"distil.hidden_mse=1.0 must be 0 with .*packed anew each epoch"),
        ({"hidden_cosine": 1.0}, r"distil.hidden_cosine=1.0 must be 0 with .*packed anew each epoch"),
        ({"attention_kl": 1.0}, r"distil.attention_kl=1.0 must be 0 with"),
        ({"cache_top": 3}, r"distil.cache_top=3 must go with pretraining"),
    ],
)
def test_what_cannot_be_kept_by_example_is_refused(distil, message, made):
    with pytest.raises(ConfigError, match=message) as caught:
        config_of(made, "classification", {"cache": True, **distil})
    assert len(caught.value.faults) == 1
