"""The folder of a sweep records which sweep it belongs to."""

import json

import pytest

from bert_jax.errors import ConfigError, UserError
from bert_jax.sweeps import Column, Published, store
from tests.sweeps.plans import make_plan

PUBLISHED = Published(
    source="table 1",
    columns=(Column("X", "mlm.loss"), Column("Y")),
    rows={"r": (1.0, "2/3"), "s": (None, 4)},
    variants={"r": "a"},
)


def test_a_sweep_reads_back_as_it_was_written(tmp_path):
    plan = make_plan(published=PUBLISHED)
    store.claim(tmp_path / "S", plan)
    assert store.read_plan(tmp_path / "S") == plan


def test_a_plan_keeps_its_teacher_and_the_kind_of_every_trial(tmp_path):
    plan = make_plan(students={"c": {"soft": 2.0}}, teacher="/models/T")
    store.claim(tmp_path, plan)
    read = store.read_plan(tmp_path)
    assert read == plan
    assert read.sweep.teacher == "/models/T"
    assert [type(trial.config).__name__ for trial in read.trials[:3]] == [
        "PretrainConfig", "PretrainConfig", "DistilPretrainConfig",
    ]  # fmt: skip
    assert read.trials[2].config.distil.soft == 2.0


@pytest.mark.parametrize(
    ("students", "teacher", "fault"),
    [
        ({"c": {"soft": 2.0}}, "/models/U", "teacher: '/models/U' now, '/models/T' there"),
        ({"c": {"soft": 3.0}}, "/models/T", "trial c-seed0: config.distil.soft: 3.0 now, 2.0 there"),
        ({"c": {}}, "/models/T", "trial c-seed0: the run is one of `bert-jax distill`, not pretrain"),
    ],
)
def test_another_teacher_or_other_losses_are_another_sweep(tmp_path, students, teacher, fault):
    store.claim(tmp_path, make_plan(students={"c": {"soft": 2.0}}, teacher="/models/T"))
    with pytest.raises(ConfigError) as error:
        store.claim(tmp_path, make_plan(students=students, teacher=teacher))
    assert f"  {fault}" in error.value.faults


@pytest.mark.parametrize("published", [None, PUBLISHED])
def test_a_folder_of_version_0_1_which_says_arms_is_read_and_continued(tmp_path, published):
    plan = make_plan(published=published)
    store.claim(tmp_path, plan)
    file = tmp_path / "sweep.json"
    saved = json.loads(file.read_text())
    tables = [saved["sweep"]] + ([saved["sweep"]["published"]] if published else [])
    for entries in tables:
        entries["arms"] = entries.pop("variants")
    for trial in saved["trials"]:
        trial["arm"] = trial.pop("variant")
    file.write_text(json.dumps(saved))
    assert "variant" not in file.read_text()
    assert store.read_plan(tmp_path) == plan
    store.claim(tmp_path, plan)
    assert "arm" not in json.loads(file.read_text())["trials"][0]


def test_a_folder_is_taken_again_by_its_sweep_and_by_one_with_more_variants_or_seeds(tmp_path):
    store.claim(tmp_path, make_plan(seeds=(0,)))
    store.claim(tmp_path, make_plan(seeds=(0, 1)))
    store.claim(tmp_path, make_plan(seeds=(0, 1), variants={"a": 0.15, "b": 0.3, "c": 0.4}))
    assert [t.name for t in store.read_plan(tmp_path).trials][-1] == "c-seed1"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tokens": 5120}, "tokens: 5120 now, 2560 there"),
        ({"seeds": (0,)}, "trial a-seed1 is there and not in sweep.py"),
        ({"variants": {"a": 0.15, "b": 0.31}}, "trial b-seed0: config.masking.rate: 0.31 now, 0.3 there"),
        ({"baseline": "b"}, "baseline: 'b' now, 'a' there"),
        ({"probes": ("mlm",)}, "probes: ('mlm',) now, ('mlm', 'nsp', 'sop') there"),
        ({"sequence_length": 64, "tokens": 2560}, "probed on: config.data.sequence_length: 64 now, 32 there"),
    ],
)
def test_the_folder_of_another_sweep_is_refused_with_what_differs(tmp_path, changes, fault):
    store.claim(tmp_path, make_plan())
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(ConfigError) as error:
        store.claim(tmp_path, make_plan(**changes))
    assert f"  {fault}" in error.value.faults
    assert error.value.faults[0].startswith(f"--workdir {tmp_path} belongs to another sweep, sweep.py")
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and has no sweep\.json"):
        store.claim(tmp_path, make_plan())
    with pytest.raises(UserError, match=r"is not the folder of a sweep: it has no sweep\.json"):
        store.read_plan(tmp_path)
    (tmp_path / "sweep.json").write_text('{"sweep": 3}')
    with pytest.raises(UserError, match="not a sweep"):
        store.read_plan(tmp_path)
