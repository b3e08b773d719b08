"""Every experiment that is shipped: resolved, and its whole step traced at full size without computing."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from bert_jax import config as configs
from bert_jax.config.finetune import settled
from bert_jax.config.phases import token_slots
from bert_jax.config.presets import PRESETS
from bert_jax.data.corpus.open import corpus_folder
from bert_jax.errors import ConfigError, UsageError
from bert_jax.suites.definition import load as load_suite
from bert_jax.sweeps.definition import load as load_sweep
from bert_jax.tasks.choose import select_of, task_of
from bert_jax.tasks.comparison import Comparison
from bert_jax.training import optim, state, step

ROOT = Path(__file__).parents[1]
SWEEPS = sorted(path.relative_to(ROOT) for path in ROOT.glob("experiments/sweeps/*.py"))
TASKS = sorted(path.relative_to(ROOT) for path in ROOT.glob("experiments/tasks/*.py"))
SUITES = sorted(path.relative_to(ROOT) for path in ROOT.glob("experiments/suites/*.py"))
DISTIL = sorted(path.relative_to(ROOT) for path in ROOT.glob("experiments/distil/*.py"))
FILES = sorted(
    {path.relative_to(ROOT) for path in ROOT.glob("experiments/**/*.py")}
    - {*SWEEPS, *TASKS, *SUITES, *DISTIL}
)


@pytest.mark.parametrize("file", TASKS, ids=str)
def test_every_task_is_a_valid_experiment_of_fine_tuning(file):
    config = configs.load(str(ROOT / file), kind=configs.FinetuneConfig)
    assert config.task.train and config.task.eval
    assert select_of(config).name
    with pytest.raises(UsageError, match="bert-jax finetune"):
        configs.load(str(ROOT / file))
    # Its numbers follow from any data and model, within the rules.
    whole = settled(config, examples=2490, layers=12)
    assert configs.resolve(configs.to_dict(whole), configs.FinetuneConfig) == whole
    assert whole.optim.warmup_steps == int(0.1 * whole.train.steps)


@pytest.mark.parametrize(
    ("file", "teacher"),
    [
        ("distilbert.py", "bert-base"),
        ("tinybert_general.py", "bert-base"),
        ("tinybert_general.py:6", "bert-base"),
        ("minilmv2.py", "bert-base"),
        ("minilmv2.py:768", "bert-base"),
        ("quick.py", "bert-tiny"),
        ("quick.py:relations", "bert-mini"),
    ],
)
def test_every_distillation_fits_the_teacher_that_it_names(file, teacher):
    path = str(ROOT / "experiments/distil" / file)
    config = configs.load(path, kind=configs.DistilPretrainConfig)
    comparison = Comparison(config.distil, config.model, PRESETS[teacher], "mlm")
    assert not list(comparison.faults())
    assert comparison.losses()
    with pytest.raises(UsageError, match="bert-jax distill"):
        configs.check_command(config, "pretrain", path)


@pytest.mark.parametrize("file", ["task.py", "tinybert_task.py:intermediate", "tinybert_task.py:prediction"])
def test_every_distillation_of_a_task_resolves(file):
    config = configs.load(str(ROOT / "experiments/distil" / file), kind=configs.DistilFinetuneConfig)
    assert select_of(config).name == ("loss" if "intermediate" in file else "accuracy")


def test_no_distillation_is_left_out():
    assert {path.name for path in DISTIL} == {
        "distilbert.py", "tinybert_general.py", "tinybert_task.py", "minilmv2.py", "quick.py", "task.py"
    }  # fmt: skip


@pytest.mark.parametrize("file", SUITES, ids=str)
def test_every_run_of_every_suite_resolves(file):
    plan = load_suite(str(ROOT / file))
    each = math.prod(len(values) for values in plan.suite.grid.values())
    assert {name: len(points) for name, points in plan.points.items()} == dict.fromkeys(
        plan.suite.tasks, each
    )
    assert {plan.points[name][0].config.tuning.head for name in plan.suite.starts} <= {"fresh"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_step_of_every_experiment_has_the_shapes_of_its_config(file):
    config = configs.load(str(ROOT / file))
    task = task_of(config)
    objective, optimizer = task.objective, optim.make_optimizer(config)
    fields = jax.eval_shape(lambda: task.phases[-1].spec.zeros(config.train.batch_size))
    params = jax.eval_shape(task.init, jax.random.key(0))
    names = step.metric_names(objective, params, {}, fields)
    before = jax.eval_shape(lambda p: state.create(p, optimizer, names), params)
    body = functools.partial(
        step.train_step,
        reduce=lambda tree: tree,
        whole=lambda tree: tree,
        objective=objective,
        optimizer=optimizer,
        accumulate=config.train.accumulate,
    )
    after, sums = jax.eval_shape(body, before, {}, fields)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), before, after)
    assert jax.tree.all(same)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((after.params, sums)))
    assert ("pair_loss" in names) == (config.data.sentence_objective != "none")
    assert ("rtd_loss" in names) == (config.objective.name == "rtd")


@pytest.mark.parametrize("variant", ["none", "nsp", "sop"])
def test_the_variants_of_the_quickstart_share_their_corpus(variant):
    config = configs.load(f"{ROOT / 'experiments/quickstart.py'}:{variant}")
    assert config.data.sentence_objective == variant
    assert corpus_folder(config) == corpus_folder(configs.load(str(ROOT / "experiments/quickstart.py")))


VARIANTS = {
    "roberta_base": ("long", "short"),
    "albert_base": ("all", "attention", "ffn", "none"),
    "deberta_base": ("full", "no_decoder", "no_c2p", "no_p2c"),
    "tinybert": ("4", "6"),
    "electra": ("small", "base"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_resolve_differ_and_leave_the_tokens_alone(name):
    variants = [configs.load(f"{ROOT / 'experiments' / name}.py:{variant}") for variant in VARIANTS[name]]
    assert len(set(variants)) == len(variants)
    assert len({corpus_folder(config) for config in variants}) == 1
    assert configs.load(str(ROOT / "experiments" / f"{name}.py")) == variants[0]
    with pytest.raises((ConfigError, UsageError), match="nonsense"):
        configs.load(f"{ROOT / 'experiments' / name}.py:nonsense")


@pytest.mark.parametrize("size", ["full", "tiny"])
@pytest.mark.parametrize("file", SWEEPS, ids=lambda path: path.stem)
def test_every_trial_of_every_sweep_resolves_to_its_budget_and_has_parameters(file, size):
    plan = load_sweep(f"{ROOT / file}:{size}")
    assert (ROOT / file).read_text().startswith('"""'), "a sweep opens with its command"
    assert {trial.variant for trial in plan.trials} == {v.name for v in plan.sweep.variants}
    assert len(plan.trials) == len(plan.sweep.variants) * len(plan.sweep.seeds)
    for trial in plan.trials:
        update = trial.config.train.batch_size * trial.config.data.sequence_length
        assert abs(token_slots(trial.config) - plan.sweep.tokens) < update
        assert _parameters(trial.config.model, trial.config.objective) > 0
    assert len({corpus_folder(trial.config) for trial in plan.trials}) == 1  # prepared once for all


@functools.cache
def _parameters(model, objective):
    config = dataclasses.replace(configs.PretrainConfig(), model=model, objective=objective)
    params = jax.eval_shape(task_of(config).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_sweeps_that_the_house_ships():
    assert [path.stem for path in SWEEPS] == [
        "attention", "depth_width", "mask_rate", "mask_split", "mask_unit", "nsp_vs_sop", "objective", "optimizer",
        "packing", "recipe", "sentence_format", "sharing", "static_vs_dynamic", "students",
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "teacher"), [("full", "bert-base"), ("tiny", "bert-mini")])
def test_the_students_differ_in_losses_alone_and_fit_their_teacher(size, teacher):
    plan = load_sweep(f"{ROOT}/experiments/sweeps/students.py:{size}")
    first = {trial.variant: trial for trial in plan.trials if trial.seed == 0}
    assert {name: trial.has_teacher for name, trial in first.items()} == {
        "plain": False, "soft": True, "distilbert": True, "tinybert": True, "minilmv2": True,
    }  # fmt: skip
    shared = [{**configs.to_dict(trial.config), "distil": None} for trial in first.values()]
    assert all(values == shared[0] for values in shared)
    for trial in first.values():
        if trial.has_teacher:
            compared = Comparison(trial.config.distil, trial.config.model, PRESETS[teacher], "mlm")
            assert list(compared.faults()) == [], trial.name


def test_the_tables_beside_which_a_sweep_puts_its_own_are_as_published():
    """Lan et al. 2020, table 5; Liu et al. 2019, tables 1 and 2; distillation: the sources that the file names."""
    albert = load_sweep(str(ROOT / "experiments/sweeps/nsp_vs_sop.py")).sweep.published
    titles = [column.title for column in albert.columns]
    rows = {title: dict(zip(titles, row, strict=True)) for title, row in albert.rows.items()}
    assert [rows[name]["SOP"] for name in ("None", "NSP", "SOP")] == [53.3, 52.0, 86.5]
    assert [rows[name]["NSP"] for name in ("None", "NSP", "SOP")] == [52.4, 90.5, 78.9]
    assert [rows[name]["Avg"] for name in ("None", "NSP", "SOP")] == [79.0, 79.2, 80.1]
    formats = load_sweep(str(ROOT / "experiments/sweeps/sentence_format.py")).sweep.published
    assert [row[1] for row in formats.rows.values()] == [84.0, 82.9, 84.7, 84.7, 84.3]
    masks = load_sweep(str(ROOT / "experiments/sweeps/static_vs_dynamic.py")).sweep.published
    assert [row[0] for row in masks.rows.values()] == [76.3, 78.3, 78.7]
    students = load_sweep(str(ROOT / "experiments/sweeps/students.py")).sweep.published
    assert [row[0] for row in students.rows.values()] == [84.7, 82.1, "84.6 (test)", 84.2]
