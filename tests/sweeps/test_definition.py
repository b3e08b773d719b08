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
            "from bert_jax.sweeps import Arm, Column, Published, Sweep, sized\n"
            "def get_sweep(size='full'):\n"
            f"    return Sweep(question='Which?', base='base.py', {arguments})\n"
        )
        return str(file)

    return write


ARMS = "arms=(Arm(name='a', values={}), Arm(name='b', values={'masking.rate': 0.3}))"


def faults(path: str, **options) -> list[str]:
    with pytest.raises(ConfigError) as error:
        definition.load(path, **options)
    return [fault.removeprefix(f"{path}: ") for fault in error.value.faults]


def test_trials_are_arms_times_seeds_with_the_steps_of_the_budget(write):
    plan = definition.load(write(f"{ARMS}, tokens=10 * 8 * 32, seeds=(3, 5)"))
    assert [trial.name for trial in plan.trials] == ["a-seed3", "b-seed3", "a-seed5", "b-seed5"]
    for trial in plan.trials:
        assert (trial.config.train.steps, trial.config.seed) == (10, trial.seed)
        assert trial.config.masking.rate == {"a": 0.15, "b": 0.3}[trial.arm]
    assert plan.sweep.baseline == "a"
    assert plan.reference.data.sentence_objective == "none"
    assert plan.reference.masking.rate == 0.15
    assert plan.trial("b-seed5") is plan.trials[3]
    with pytest.raises(UsageError, match="there are a-seed3, b-seed3, a-seed5, b-seed5"):
        plan.trial("b-seed4")


def test_a_budget_is_met_to_within_half_an_update_whatever_the_shape_of_the_batch(write):
    arms = """arms=(
        Arm(name='a', values={}),
        Arm(name='long', values={'data.sequence_length': 64}),
        Arm(name='wide', values={'train.batch_size': 48}),
        Arm(name='phases', values={'data.sequence_length': 64, 'data.first_length': 16}),
    )"""
    plan = definition.load(write(f"{arms}, tokens=40_150, seeds=(0,)"))
    for trial in plan.trials:
        update = trial.config.train.batch_size * trial.config.data.sequence_length
        assert abs(token_slots(trial.config) - 40_150) <= update / 2
    assert plan.trial("a-seed0").config.train.steps == round(40_150 / (8 * 32))
    phases = plan.trial("phases-seed0").config
    assert phases.train.steps == round(40_150 / (8 * (0.9 * 16 + 0.1 * 64)))


def test_tokens_seeds_and_values_for_all_arms_come_from_the_command_line(write):
    path = write(f"{ARMS}, tokens=2560")
    plan = definition.load(path, ["optim.learning_rate=3e-4"], tokens=5120, seeds=(7,))
    assert {trial.config.optim.learning_rate for trial in plan.trials} == {3e-4}
    assert plan.reference.optim.learning_rate == 3e-4
    assert [(trial.seed, trial.config.train.steps) for trial in plan.trials] == [(7, 20), (7, 20)]


def test_arms_that_differ_in_budget_are_refused_with_both_values(write):
    path = write(
        "arms=(Arm(name='a', values={}), Arm(name='b', values={'train.steps': 11})), tokens=10 * 8 * 32"
    )
    assert faults(path) == [
        "arm b: config.train.steps=11 x rows x length = 2,816 tokens must be the budget, tokens=2,560, to within an"
        " update of 256"
    ]


def test_every_value_that_does_not_validate_is_listed_before_anything_runs(write):
    path = write(
        """arms=(
            Arm(name='a', values={'masking.span_p': 1.5}),
            Arm(name='b', values={'masking.rat': 0.3}),
            Arm(name='c', values={'model.num_layers': 'two'}),
            Arm(name='d', values={}),
        ), tokens=2560"""
    )
    found = faults(path)
    assert [fault.split(" must ")[0].split(" is ")[0] for fault in found] == [
        "arm a: config.masking.span_p=1.5",
        "arm b: config.masking.rat",
        "arm c: config.model.num_layers='two'",
    ]
    assert "did you mean config.masking.rate?" in found[1]


def test_a_fault_of_the_base_is_said_once(write):
    arms = ARMS.replace("))", "), Arm(name='c', values={'masking.rate': 0.4}))")
    assert faults(write(f"{arms}, tokens=2560"), overrides=["optim.warmup_steps=-1"]) == [
        "every arm: config.optim.warmup_steps=-1 must be >= 0"
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            "arms=(Arm(name='a', values={}), Arm(name='a', values={'masking.rate': 0.3})), tokens=2560",
            "2 arms are named 'a': names must differ",
        ),
        (
            "arms=(Arm(name='a', values={}), Arm(name='b', values={'masking.rate': 0.15})), tokens=2560",
            "arm a, b: the same configuration: arms must differ",
        ),
        ("arms=(Arm(name='a', values={}),), tokens=2560", "arms=['a'] must be two or more"),
        (f"{ARMS.replace(chr(39) + 'b', chr(39) + '../b')}, tokens=2560", "arm '../b' must be letters"),
        (f"{ARMS}, tokens=2560, baseline='c'", "baseline='c' must be one of the arms a, b"),
        (f"{ARMS}, tokens=2560, seeds=(1, 1)", "seeds=(1, 1) must be different whole numbers >= 0"),
        (f"{ARMS}, tokens=0", "tokens=0 must be > 0"),
        (f"{ARMS}, tokens=2560, common={{'masking.rate': 0.2}}", "arm b: masking.rate is set in common too"),
        (
            f"{ARMS}, tokens=2560, measures=('mnli.accuracy',)",
            "measures: 'mnli.accuracy' must be held_out.X or",
        ),
        (
            f"{ARMS}, tokens=2560, published=Published(source='x', columns=(Column('y'),), rows={{'r': ()}}, arms={{}})",
            "published row 'r' has 0 values, must have 1",
        ),
        (
            f"{ARMS}, tokens=2560, published=Published(source='x', columns=(), rows={{'r': ()}}, arms={{'r': 'z'}})",
            "published.arms: 'r': 'z' must go from one of its rows to one of the arms",
        ),
    ],
)
def test_a_sweep_that_asks_nothing_sound_is_refused(write, arguments, fault):
    found = faults(write(arguments))
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("masking.rate=0.2", "--config.masking.rate would undo what arm b is about: leave it out"),
        ("seed=3", "--config.seed has no effect on a sweep"),
        ("train.steps=3", "--config.train.steps has no effect on a sweep: its budget decides, set --tokens"),
    ],
)
def test_an_override_cannot_undo_what_the_sweep_is_about(write, override, fault):
    assert faults(write(f"{ARMS}, tokens=2560"), overrides=[override])[0].startswith(fault)


def test_a_wrong_size_or_file_is_one_line(write, tmp_path):
    path = write(f"{ARMS}, **sized(size, full={{'tokens': 2560}})")
    assert definition.load(f"{path}:full").trials
    with pytest.raises(ConfigError, match="size 'huge' must be one of full"):
        definition.load(f"{path}:huge")
    with pytest.raises(UsageError, match=r"must define get_sweep\(\)"):
        definition.load(str(tmp_path / "base.py"))
    (tmp_path / "none.py").write_text("def get_sweep(): return 3")
    with pytest.raises(UsageError, match="must return a Sweep, returned 3"):
        definition.load(str(tmp_path / "none.py"))


def test_the_base_is_found_from_the_sweep_file_and_takes_its_argument(write, tmp_path, monkeypatch):
    path = Path(write(f"{ARMS}, tokens=2560"))
    path.write_text(path.read_text().replace("'base.py'", "'base.py:large'"))
    monkeypatch.chdir("/")
    plan = definition.load(str(path))
    assert plan.trials[0].config.data == configs.load(str(tmp_path / "base.py")).data
