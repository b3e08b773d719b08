"""A teacher's outputs that are kept by step: with all of them a run is that with the teacher, and nothing wrong is read."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from bert_jax import config as configs
from bert_jax.batch import Host
from bert_jax.config import DistilPretrainConfig, PretrainConfig
from bert_jax.config.presets import PRESETS
from bert_jax.data import step_files
from bert_jax.data.corpus.prepare import prepare
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.tasks.distill import distill
from bert_jax.tasks.distillation import Distillation
from bert_jax.tasks.kept_by_step import _Batches
from bert_jax.tasks.load import load_model
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.teacher_cache import TeacherProgram
from bert_jax.tasks.teachers import Found
from bert_jax.text import tokenizer
from bert_jax.training.trainer import Trainer
from tests.runs import lines, stopped

pytestmark = pytest.mark.slow  # each compiles for a minute or more

VOCABULARY = 90
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"]
SMALL = {
    "hidden_size": 16, "num_heads": 2, "mlp_size": 32, "num_layers": 1, "max_positions": 32,
    "dropout_rate": 0.0, "attention_dropout_rate": 0.0,
}  # fmt: skip
ALL = {"cache": True, "cache_top": VOCABULARY, "cache_type": "float32"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared corpus and two teachers of its vocabulary."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    documents = (" ".join(rng.choice(WORDS, rng.integers(10, 60))) for _ in range(60))
    (folder / "corpus.txt").write_text("\n\n".join(documents))
    shards, _ = prepare(config_of(folder, {"soft": 1.0}))
    teacher = dataclasses.replace(
        PRESETS["bert-tiny"], vocab_size=VOCABULARY, hidden_size=32, num_heads=2, mlp_size=32, num_layers=3,
        max_positions=32, initializer_range=0.3,
    )  # fmt: skip
    for seed in (0, 1):
        native.save_native(
            folder / f"teacher{seed}",
            bert.init_params(teacher, jax.random.key(seed)),
            config=teacher,
            tokenizer=tokenizer.load(shards.folder / "tokenizer.json"),
        )
    return folder


def config_of(made, distil, **groups) -> DistilPretrainConfig:
    raw = {
        "data": {
            "path": str(made / "corpus.txt"), "directory": str(made / "prepared"), "sequence_length": 32,
            "sentence_objective": "none", "format": "full_sentences", "eval_fraction": 0.2,
        },
        "tokenizer": {"vocab_size": VOCABULARY},
        "model": {"preset": "bert-tiny", **SMALL},
        "optim": {"warmup_steps": 0, "learning_rate": 3e-3},
        "train": {"batch_size": 8, "steps": 6, "log_every": 1, "eval_every": 3},
        "checkpoint": {"every": 6},
        "log": {"sinks": ()},
    }  # fmt: skip
    for group, values in groups.items():
        raw[group] = raw.get(group, {}) | values if isinstance(values, dict) else values
    return configs.resolve({**raw, "distil": distil}, DistilPretrainConfig)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


@pytest.fixture
def calls(monkeypatch):
    """Grows by one each time that a teacher computes."""
    found, compute = [], TeacherProgram.__call__

    def counted(self, batch):
        found.append(len(batch["tokens_BL"]))
        return compute(self, batch)

    monkeypatch.setattr(TeacherProgram, "__call__", counted)
    return found


def task_of(made, distil, teacher=0, **groups):
    path = made / f"teacher{teacher}"
    model = load_model(path)
    return Distillation(Pretraining(config_of(made, distil, **groups)), [Found(path, model)])


def losses_of(task, *, gradient=True):
    """Sums of two batches of training and one held out, with the norm of the gradient, of the fresh parameters."""
    objective, constants = task.objective, task.constants()

    def loss(params, batch):
        return objective.loss(params, constants, batch, None, objective.weights(batch))

    def with_norm(params, batch):
        (_, sums), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        return {**sums, "grad_norm": (optax.tree.norm(grads), 1.0)}

    program = jax.jit(with_norm if gradient else lambda params, batch: loss(params, batch)[1])
    params, [phase] = task.init(jax.random.key(0)), task.phases
    batches = [*task.batches("train", phase, Host()).iterate(0, 2)]
    batches += task.batches("eval", phase, Host()).iterate(0, 1)
    return [jax.device_get(program(params, batch)) for batch in batches]


def assert_alike(found, expected, rel):
    for sums, others in zip(found, expected, strict=True):
        assert sums.keys() <= others.keys() and "soft_loss" in sums
        for name in sums:
            np.testing.assert_allclose(sums[name], others[name], rtol=rel, atol=1e-6, err_msg=name)


STATES = {"hidden_mse": 1.0, "layer_map": (1,), "temperature": 1.5, "soft": 1.0}


@pytest.fixture(scope="module")
def computed(made):
    """The losses where a step computes the teacher."""
    return losses_of(task_of(made, STATES))


def test_with_all_logits_in_float32_the_losses_are_those_with_the_teacher(made, computed, calls):
    task = task_of(made, {**STATES, **ALL})
    assert task.constants() == {} and task.phases[0].flops == task.student.phases[0].flops
    assert_alike(losses_of(task), computed, 1e-5)
    assert calls == [8] * 3
    again = losses_of(task_of(made, {**STATES, **ALL}))
    assert_alike(again, computed, 1e-5)
    assert len(calls) == 3  # all was read


@pytest.mark.parametrize("parallel", [{"fsdp": 2}, {"mode": "pmap"}], ids=str)
def test_two_devices_take_the_outputs_with_their_rows(parallel, made, computed):
    task = task_of(made, {**STATES, **ALL}, parallel=parallel)
    trainer = Trainer.of(task, task.config, jax.devices()[:2])
    [phase] = task.phases
    state, batch = trainer.new_state(), next(task.batches("train", phase, trainer.host()).iterate(0, 1))
    step = trainer.compile_train(phase, state, phase.spec.zeros(8))
    _, sums = step(state, trainer.plan.place(batch))
    assert_alike([jax.device_get(sums)], computed[:1], 1e-5)


def test_every_token_and_the_last_state_are_kept_too(made):
    distil, groups = {"soft": 1.0, "soft_at": "all", "hidden_cosine": 1.0}, {"model": {"hidden_size": 32}}
    expected = losses_of(task_of(made, distil, **groups), gradient=False)
    found = losses_of(task_of(made, {**distil, **ALL}, **groups), gradient=False)
    assert_alike(found, expected, 1e-5)


def test_what_half_precision_and_fewer_logits_change(made, computed):
    """Of logits of about 1, half precision changes losses by less than 1e-3; half of them sharpen the targets."""
    half = losses_of(task_of(made, {**STATES, **ALL, "cache_type": "float16"}), gradient=False)
    assert_alike(half, computed, 1e-3)
    with pytest.raises(AssertionError):
        assert_alike(half, computed, 1e-6)
    few = losses_of(task_of(made, {**STATES, **ALL, "cache_top": VOCABULARY // 2}), gradient=False)
    assert few[0]["soft_loss"][0] > 1.02 * computed[0]["soft_loss"][0]
    np.testing.assert_allclose(few[0]["hidden_mse_loss"], computed[0]["hidden_mse_loss"], rtol=1e-5)


def test_only_what_is_read_is_kept_and_is_the_teachers(made):
    task = task_of(made, {**STATES, "cache": True, "cache_top": 7, "cache_type": "float32"})
    spec = task.phases[0].spec
    own = {name: spec.fields[name] for name in spec.fields if name.startswith("teacher_")}
    assert own == {
        "teacher_state0_BLD": np.float32, "teacher_state2_BLD": np.float32,
        "teacher_logits_BMK": np.float32, "teacher_ids_BMK": np.uint16,
    }  # fmt: skip
    batch = next(task.batches("train", task.phases[0], Host()).iterate(0, 1))
    zeros = spec.zeros(8)
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        k: (v.shape, v.dtype) for k, v in zeros.items()
    }
    model = task.found[0].model
    output = bert.BertWithHeads(dataclasses.replace(model.config, pooler="none"), ("mlm",)).apply(
        {"params": {name: part for name, part in model.params.items() if name != "pair_head"}},
        {k: v for k, v in batch.items() if k not in own},
    )
    for number in (0, 2):
        np.testing.assert_allclose(
            batch[f"teacher_state{number}_BLD"], output.hidden_states[number], atol=1e-5
        )
    logits = np.asarray(output.mlm_logits_BMV)
    largest = np.sort(logits, axis=-1)[..., :-8:-1]
    np.testing.assert_allclose(batch["teacher_logits_BMK"], largest, atol=1e-5)
    at_ids = np.take_along_axis(logits, batch["teacher_ids_BMK"].astype(int), -1)
    np.testing.assert_allclose(at_ids, largest, atol=1e-5)


def test_each_process_keeps_the_rows_it_feeds(made):
    task = task_of(made, {"soft": 1.0, **ALL})
    [phase] = task.phases
    whole, *parts = (
        next(task.batches("train", phase, host).iterate(3, 4)) for host in (Host(), Host(0, 2), Host(1, 2))
    )
    assert len(task.cache._files) == 3
    for name in whole:
        joined = np.concatenate([part[name] for part in parts])
        if name.startswith("teacher_ids"):  # equal logits may change places
            assert (joined == whole[name]).mean() > 0.99
        else:
            np.testing.assert_allclose(joined, whole[name], atol=1e-5, err_msg=name)


# ---------------------------------------------------------------------------------------------
# Whole runs
# ---------------------------------------------------------------------------------------------

RUN = {"soft": 1.0, "cache": True, "cache_top": 8}


def run(made, workdir, distil=RUN, **groups):
    distill(config_of(made, distil, **groups), workdir, teachers=[made / "teacher0"])
    return lines(workdir)


@pytest.fixture(scope="module")
def first(made, tmp_path_factory):
    """(metrics of a run, its data folder)."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        return run(made, folder / "run"), folder / "data"


def test_a_second_run_reads_all_and_is_the_same_bit_for_bit(first, made, tmp_path, calls, caplog):
    expected, data = first
    shutil.copytree(data, tmp_path / "data")
    with caplog.at_level("INFO", "bert_jax"):
        assert run(made, tmp_path / "run") == expected
    assert calls == []
    [report] = [text for text in caplog.messages if text.startswith("teacher cache")]
    assert "steps computed 0, read" in report and str(tmp_path / "data/teachers") in report
    # Another student needs no teacher either, and where the cache lies binds no workdir.
    other = task_of(made, RUN, optim={"learning_rate": 1e-3}, model={"mlp_size": 48})
    assert len([*other.batches("train", other.phases[0], Host()).iterate(0, 6)]) == 6 and calls == []
    moved = {**RUN, "cache_directory": str(tmp_path / "moved"), "cache_gigabytes": 1.0}
    assert run(made, tmp_path / "run", moved) == expected


def test_stopped_it_resumes_to_the_same_run_and_computes_no_step_twice(first, made, tmp_path, calls):
    with stopped(_Batches, 4):
        run(made, tmp_path / "run")
    before = len(calls)
    assert run(made, tmp_path / "run") == first[0]
    assert len(calls) == before + 2


def test_without_room_a_run_computes_each_step_and_is_the_same(first, made, tmp_path, calls):
    assert run(made, tmp_path / "run", {**RUN, "cache_gigabytes": 1e-6}) == first[0]
    assert len(calls) > 6
    assert list(tmp_path.glob("data/teachers/*/*.npz")) == []


def test_damaged_files_are_computed_again_and_other_rows_refused(first, made, tmp_path, calls, caplog):
    expected, data = first
    shutil.copytree(data, tmp_path / "data")
    folders = {
        json.loads(p.read_text())["split"]: p.parent for p in tmp_path.glob("data/teachers/*/cache.json")
    }
    for path in folders["eval"].glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-100])
    assert run(made, tmp_path / "run") == expected
    assert len(calls) > 0 and "is damaged" in caplog.text
    # The files of these rows in the place of those of another seed.
    other = task_of(made, RUN, seed=1)
    files = other.batches("train", other.phases[0], Host())._files
    for path in folders["train"].glob("*.npz"):
        shutil.copy(path, files.folder)
    with pytest.raises(UserError, match=rf"{files.folder}.*step 0 is of other rows"):
        next(other.batches("train", other.phases[0], Host()).iterate(0, 1))


# ---------------------------------------------------------------------------------------------
# What a cache is of
# ---------------------------------------------------------------------------------------------


def folders_of(task):
    for split in ("train", "eval"):
        task.batches(split, task.phases[0], Host())
    return [files.folder for files in task.cache._files.values()]


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"teacher": 1}, []),
        ({"seed": 1}, ["eval"]),
        ({"masking": {"rate": 0.2}}, []),
        ({"train": {"batch_size": 4}}, []),
        ({"data": {"sequence_length": 24}}, []),
        ({"distil": {"cache_top": 9}}, []),
        ({"distil": {"cache_type": "float32"}}, []),
        ({"distil": {"teacher_dtype": "bfloat16"}}, []),
        ({"distil": {"soft_at": "all"}}, []),
        ({"distil": {"hidden_mse": 1.0, "layer_map": (2,)}}, []),
        ({"train": {"steps": 9}, "model": {"mlp_size": 8}, "optim": {"eps": 1e-8}}, ["train", "eval"]),
        ({"distil": {"temperature": 1.0, "hard": 0.5}}, ["train", "eval"]),
        ({"phases": ({"share": 0.5}, {"share": 0.5, "masking_rate": 0.3})}, ["train", "eval"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_folder_is_of_the_teacher_and_the_rows_alone(changes, shared, made):
    plain = folders_of(task_of(made, RUN))
    changed = folders_of(task_of(made, {**RUN, **changes.pop("distil", {})}, **changes))
    same = [
        split for split, ours, theirs in zip(("train", "eval"), plain, changed, strict=True) if ours == theirs
    ]
    assert same == shared


def test_phases_have_folders_of_their_own(made):
    task = task_of(made, RUN, phases=({"share": 0.5}, {"share": 0.5, "masking_rate": 0.3}))
    for phase in task.phases:
        for split in ("train", "eval"):
            assert task.batches(split, phase, Host()) is not None
    assert len(task.cache._files) == 4


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        ({"soft": 1.0, "cache_top": 5}, r"distil.cache_top=5 must go with config.distil.cache=True"),
        ({"soft": 1.0, "cache_type": "float32"}, "distil.cache_type='float32' must go with"),
        ({"soft": 1.0, "cache_gigabytes": 1.0}, "distil.cache_gigabytes=1.0 must go with"),
        ({"soft": 1.0, "cache_directory": "x"}, "distil.cache_directory='x' must go with"),
        ({"hidden_cosine": 1.0, "cache": True, "cache_top": 5}, "distil.cache_top=5 must go with config.distil.soft > 0"),
        ({"soft": 1.0, "cache": True, "cache_top": 91}, "cache_top=91 must be <= config.tokenizer.vocab_size=90"),
        *(
            ({name: 0.5, **RUN}, f"distil.{name}=0.5 must be 0 with config.distil.cache=True: .* nothing of attention")
            for name in ("attention_mse", "attention_kl", "query_relation", "key_relation", "value_relation")
        ),
    ],
)  # fmt: skip
def test_options_that_do_nothing_or_cannot_be_kept_are_refused(distil, message, made):
    with pytest.raises(ConfigError, match=message) as caught:
        config_of(made, distil)
    assert len(caught.value.faults) == 1


def test_several_teachers_are_refused(made):
    found = [Found(made / "teacher0", load_model(made / "teacher0"))] * 2
    with pytest.raises(UserError, match=r"2 teachers must be one with config.distil.cache=True"):
        Distillation(Pretraining(config_of(made, RUN)), found)


def test_outputs_that_the_type_cannot_hold_are_refused(made):
    model = load_model(made / "teacher0")
    params = jax.tree.map(np.array, model.params)
    params["mlm_head"]["bias"][3] = 1e6  # float16 ends at 65504
    found = [Found(made / "teacher0", model._replace(params=params))]
    task = Distillation(Pretraining(config_of(made, RUN)), found)
    with pytest.raises(UserError, match=r"not finite .*cache_type=float16"):
        next(task.batches("train", task.phases[0], Host()).iterate(0, 1))


def test_a_pretraining_configuration_has_no_cache():
    with pytest.raises(ConfigError, match="distil"):
        configs.resolve({"distil": {"cache": True}}, PretrainConfig)


assert step_files._STEPS > 6  # the runs above end inside a file
