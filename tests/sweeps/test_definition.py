"""A sweep file becomes trials of equal budgets, or all of its faults at once."""

from pathlib import Path

import pytest

from bert_jax import config as configs
from bert_jax.config.phases import token_slots
from bert_jax.errors import ConfigError, UsageError
from bert_jax.sweeps import definition

BASE = """
from bert_jax.config import base

def get_config(size="small"):
    config = base()
    config.data.sequence_length = 32
    config.data.sentence_objective = "sop"
    config.tokenizer.vocab_size = 128
    config.model.preset = "bert-tiny"
    config.optim.warmup_steps = 2
    config.train.batch_size = 8
    return config
"""


@pytest.fixture
def write(tmp_path):
    """Text of the Sweep's arguments -> a sweep file beside a base experiment."""
    (tmp_path / "base.py").write_text(BASE)

    def write(arguments: str) -> str:
        file = tmp_path / "sweep.py"
        file.write_text(
            "from bert_jax.sweeps import Variant, Column, Published, Sweep, sized\n"
            "def get_sweep(size='full'):\n"
            f"    return Sweep(question='Which?', base='base.py', {arguments})\n"
        )
        return str(file)

    return write


VARIANTS = "variants=(Variant(name='a', values={}), Variant(name='b', values={'masking.rate': 0.3}))"


def faults(path: str, **options) -> list[str]:
    with pytest.raises(ConfigError) as error:
        definition.load(path, **options)
    return [fault.removeprefix(f"{path}: ") for fault in error.value.faults]


def test_trials_are_variants_times_seeds_with_the_steps_of_the_budget(write):
    plan = definition.load(write(f"{VARIANTS}, tokens=10 * 8 * 32, seeds=(3, 5)"))
    assert [trial.name for trial in plan.trials] == ["a-seed3", "b-seed3", "a-seed5", "b-seed5"]
    for trial in plan.trials:
        assert (trial.config.train.steps, trial.config.seed) == (10, trial.seed)
        assert trial.config.masking.rate == {"a": 0.15, "b": 0.3}[trial.variant]
    assert plan.sweep.baseline == "a"
    assert plan.reference.data.sentence_objective == "none"
    assert plan.reference.masking.rate == 0.15
    assert plan.trial("b-seed5") is plan.trials[3]
    with pytest.raises(UsageError, match="there are a-seed3, b-seed3, a-seed5, b-seed5"):
        plan.trial("b-seed4")


def test_a_budget_is_met_to_within_half_an_update_whatever_the_shape_of_the_batch(write):
    variants = """variants=(
        Variant(name='a', values={}),
        Variant(name='long', values={'data.sequence_length': 64}),
        Variant(name='wide', values={'train.batch_size': 48}),
        Variant(name='phases', values={'data.sequence_length': 64, 'phases': ({'share': 0.9, 'sequence_length': 16}, {'share': 0.1})}),
    )"""
    plan = definition.load(write(f"{variants}, tokens=40_150, seeds=(0,)"))
    for trial in plan.trials:
        update = trial.config.train.batch_size * trial.config.data.sequence_length
        assert abs(token_slots(trial.config) - 40_150) <= update / 2
    assert plan.trial("a-seed0").config.train.steps == round(40_150 / (8 * 32))
    phases = plan.trial("phases-seed0").config
    assert phases.train.steps == round(40_150 / (8 * (0.9 * 16 + 0.1 * 64)))


def test_tokens_seeds_and_values_for_all_variants_come_from_the_command_line(write):
    path = write(f"{VARIANTS}, tokens=2560")
    plan = definition.load(path, ["optim.learning_rate=3e-4"], tokens=5120, seeds=(7,))
    assert {trial.config.optim.learning_rate for trial in plan.trials} == {3e-4}
    assert plan.reference.optim.learning_rate == 3e-4
    assert [(trial.seed, trial.config.train.steps) for trial in plan.trials] == [(7, 20), (7, 20)]


def test_variants_that_differ_in_budget_are_refused_with_both_values(write):
    path = write(
        "variants=(Variant(name='a', values={}), Variant(name='b', values={'train.steps': 11})), tokens=10 * 8 * 32"
    )
    assert faults(path) == [
        "variant b: config.train.steps=11 x rows x length = 2,816 tokens must be the budget, tokens=2,560, to within an"
        " update of 256"
    ]


def test_every_value_that_does_not_validate_is_listed_before_anything_runs(write):
    path = write(
        """variants=(
            Variant(name='a', values={'masking.span_p': 1.5}),
            Variant(name='b', values={'masking.rat': 0.3}),
            Variant(name='c', values={'model.num_layers': 'two'}),
            Variant(name='d', values={}),
        ), tokens=2560"""
    )
    found = faults(path)
    assert [fault.split(" must ")[0].split(" is ")[0] for fault in found] == [
        "variant a: config.masking.span_p=1.5",
        "variant b: config.masking.rat",
        "variant c: config.model.num_layers='two'",
    ]
    assert "did you mean config.masking.rate?" in found[1]


STUDENTS = """variants=(
    Variant(name='plain', values={}),
    Variant(name='soft', values={'distil.temperature': 4.0, 'distil.soft': 1.0}),
    Variant(name='tiny', values={'distil.hidden_mse': 1, 'distil.hard': 0}),
)"""


def test_a_value_of_distil_makes_a_trial_one_of_distillation_whatever_the_order_of_keys(write):
    path = write(f"{STUDENTS}, tokens=2560, seeds=(0,), teacher='T', common={{'optim.learning_rate': 3e-4}}")
    plan = definition.load(path)
    plain, soft, tiny = (trial.config for trial in plan.trials)
    assert [trial.has_teacher for trial in plan.trials] == [False, True, True]
    assert type(plain) is type(plan.reference) is configs.PretrainConfig
    assert (soft.distil.temperature, soft.distil.soft, soft.distil.hard) == (4.0, 1.0, 1.0)
    assert tiny.distil.hidden_mse == 1.0
    # Nothing else differs: the budget, what all have, and the rest of the base.
    shared = [{**configs.to_dict(config), "distil": None} for config in (plain, soft, tiny)]
    assert shared[0] == shared[1] == shared[2]
    assert (plain.train.steps, plain.optim.learning_rate) == (10, 3e-4)
    assert definition.load(path, teacher="other").sweep.teacher == "other"


def test_every_trial_may_be_one_of_distillation_by_common_values_or_by_the_base(write, tmp_path):
    """The rows that all are probed on need no loss."""
    variants = "variants=(Variant(name='a', values={'distil.soft': 1}), Variant(name='b', values={'distil.soft': 2}))"
    path = write(f"{variants}, tokens=2560, seeds=(0,), teacher='T', common={{'distil.temperature': 3.0}}")
    plan = definition.load(path, ["distil.hard=0.5"])
    assert [(t.config.distil.soft, t.config.distil.hard) for t in plan.trials] == [(1.0, 0.5), (2.0, 0.5)]
    assert plan.reference.data.sentence_objective == "none"
    base = BASE.replace("import base", "import DistilPretrainConfig, base")
    base = base.replace("base()", "base(DistilPretrainConfig)\n    config.distil.soft = 1.0")
    (tmp_path / "base.py").write_text(base)
    plan = definition.load(write(f"{VARIANTS}, tokens=2560, seeds=(0,), teacher='T'"))
    assert [trial.has_teacher for trial in plan.trials] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (
            f"{STUDENTS}, tokens=2560",
            ["variant soft, tiny: of distillation (config.distil), so that teacher='' must be a model: name it in the file"
             " or by --teacher"],
        ),
        (
            f"{VARIANTS}, tokens=2560, teacher='T'",
            ["teacher='T' must be left out: no variant has a value of config.distil, and no other run reads a teacher"],
        ),
        (
            STUDENTS.replace("distil.soft", "distil.sof") + ", tokens=2560, teacher='T'",
            ["variant soft: config.distil.sof is unknown: did you mean config.distil.soft? known here: "],
        ),
        (
            STUDENTS.replace("'distil.soft': 1.0", "'distil.soft': 0.0") + ", tokens=2560, teacher='T'",
            ["variant soft: one of config.distil.soft, ", "variant soft: config.distil.temperature=4.0 must go with"],
        ),
        (
            STUDENTS.replace("'distil.hard': 0", "'objective.name': 'rtd', 'data.sentence_objective': 'none'")
            + ", tokens=2560, teacher='T'",
            ["variant tiny: config.objective.name='rtd' must be 'mlm' for distillation"],
        ),
        (
            STUDENTS.replace("'distil.hidden_mse': 1, 'distil.hard': 0", "'distil.soft': 1, 'distil.temperature': 4")
            + ", tokens=2560, teacher='T'",
            ["variant soft, tiny: the same configuration: variants must differ"],
        ),
    ],
)  # fmt: skip
def test_a_teacher_is_there_where_and_only_where_it_is_read(write, arguments, found):
    said = faults(write(arguments))
    assert len(said) == len(found)
    assert all(fault.startswith(start) for fault, start in zip(said, found, strict=True)), said


def test_an_option_of_distillation_for_a_plain_variant_is_refused(write):
    assert faults(write(f"{STUDENTS}, tokens=2560, teacher='T'"), overrides=["distil.hard=0.5"])[0] == (
        "--config.distil.hard would override a value of variant tiny: leave it out"
    )
    assert faults(
        write(f"{STUDENTS}, tokens=2560, teacher='T'"), overrides=["distil.teacher_dtype=bfloat16"]
    ) == [
        "variant plain: config.distil.teacher_dtype must go with an experiment of `bert-jax distill`: this one learns from"
        " no teacher"
    ]


def test_a_task_that_needs_a_teacher_itself_is_refused(write, tmp_path):
    (tmp_path / "task.py").write_text(
        "from bert_jax.config import DistilFinetuneConfig, base\n"
        "def get_config():\n"
        "    config = base(DistilFinetuneConfig)\n"
        "    config.task.train = config.task.eval = 'x.tsv'\n"
        "    config.distil.soft = 1.0\n"
        "    return config\n"
    )
    found = faults(write(f"{VARIANTS}, tokens=2560, tasks={{'t': 'task.py'}}"))
    assert found == [
        "task t: config.distil must be left out: encoders are compared by plain fine-tuning, without a teacher"
    ]


def test_a_fault_of_the_base_is_said_once(write):
    variants = VARIANTS.replace("))", "), Variant(name='c', values={'masking.rate': 0.4}))")
    assert faults(write(f"{variants}, tokens=2560"), overrides=["optim.warmup_steps=-1"]) == [
        "every variant: config.optim.warmup_steps=-1 must be >= 0"
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            "variants=(Variant(name='a', values={}), Variant(name='a', values={'masking.rate': 0.3})), tokens=2560",
            "2 variants are named 'a': names must differ",
        ),
        (
            "variants=(Variant(name='a', values={}), Variant(name='b', values={'masking.rate': 0.15})), tokens=2560",
            "variant a, b: the same configuration: variants must differ",
        ),
        ("variants=(Variant(name='a', values={}),), tokens=2560", "variants=['a'] must be two or more"),
        (
            f"{VARIANTS.replace(chr(39) + 'b', chr(39) + '../b')}, tokens=2560",
            "variant '../b' must be letters",
        ),
        (f"{VARIANTS}, tokens=2560, baseline='c'", "baseline='c' must be one of the variants a, b"),
        (f"{VARIANTS}, tokens=2560, seeds=(1, 1)", "seeds=(1, 1) must be different whole numbers >= 0"),
        (f"{VARIANTS}, tokens=0", "tokens=0 must be > 0"),
        (
            f"{VARIANTS}, tokens=2560, common={{'masking.rate': 0.2}}",
            "variant b: masking.rate is set in common too",
        ),
        (
            f"{VARIANTS}, tokens=2560, measures=('mnli.accuracy',)",
            "measures: 'mnli.accuracy' must be held_out.X or",
        ),
        (
            f"{VARIANTS}, tokens=2560, published=Published(source='x', columns=(Column('y'),), rows={{'r': ()}}, variants={{}})",
            "published row 'r' has 0 values, must have 1",
        ),
        (
            f"{VARIANTS}, tokens=2560, published=Published(source='x', columns=(), rows={{'r': ()}}, variants={{'r': 'z'}})",
            "published.variants: 'r': 'z' must go from one of its rows to one of the variants",
        ),
    ],
)
def test_a_faulty_sweep_is_refused(write, arguments, fault):
    found = faults(write(arguments))
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("masking.rate=0.2", "--config.masking.rate would override a value of variant b"),
        ("seed=3", "--config.seed has no effect on a sweep"),
        ("train.steps=3", "--config.train.steps has no effect on a sweep"),
    ],
)
def test_an_override_cannot_change_what_the_sweep_varies(write, override, fault):
    assert faults(write(f"{VARIANTS}, tokens=2560"), overrides=[override])[0].startswith(fault)


def test_an_unknown_probe_is_refused_with_the_known_ones(write):
    path = write(f"{VARIANTS}, tokens=2560, probes=('mlm', 'mnli'), measures=('mlm.loss',)")
    assert faults(path, known_probes=("mlm", "nsp")) == ["probes: 'mnli' must be one of mlm, nsp"]
    assert definition.load(path).trials


def test_a_wrong_size_or_file_is_one_line(write, tmp_path):
    path = write(f"{VARIANTS}, **sized(size, full={{'tokens': 2560}})")
    assert definition.load(f"{path}:full").trials
    with pytest.raises(ConfigError, match="size 'huge' must be one of full"):
        definition.load(f"{path}:huge")
    with pytest.raises(UsageError, match=r"must define get_sweep\(\)"):
        definition.load(str(tmp_path / "base.py"))
    (tmp_path / "none.py").write_text("def get_sweep(): return 3")
    with pytest.raises(UsageError, match="must return a Sweep, returned 3"):
        definition.load(str(tmp_path / "none.py"))


def test_the_base_is_found_from_the_sweep_file_and_takes_its_argument(write, tmp_path, monkeypatch):
    path = Path(write(f"{VARIANTS}, tokens=2560"))
    path.write_text(path.read_text().replace("'base.py'", "'base.py:large'"))
    monkeypatch.chdir("/")
    plan = definition.load(str(path))
    assert plan.trials[0].config.data == configs.load(str(tmp_path / "base.py")).data
