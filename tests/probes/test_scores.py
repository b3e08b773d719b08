"""What a probe leaves in a workdir."""

import json
import math

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.probes.scores import ARRAYS, JSON, Breakdown, Probed, Score, read, write


@pytest.fixture
def probed():
    return Probed(
        step=7,
        settings={"pairs": 20, "data": {"quirks": []}},
        scores=(
            Score(
                name="a.loss",
                total_R=np.array([1.5, 3.0]),
                weight_R=np.array([1.0, 2.0]),
                better="lower",
                unit="nats",
            ),
            Score(name="b.accuracy", total_R=np.zeros(3), weight_R=np.ones(3), better="higher", chance=0.5),
        ),
        breakdowns=(
            Breakdown(name="a.loss by x", axis="x", labels=("1", "2"), values=(None, 2.0), counts=(0, 3)),
        ),
        details={"b": {"training_accuracy": 0.75}},
    )


def test_what_is_written_is_read(probed, tmp_path):
    assert read(tmp_path) is None
    write(tmp_path, probed)
    found = read(tmp_path)
    assert (found.step, found.settings, found.breakdowns, found.details) == (
        probed.step, probed.settings, probed.breakdowns, probed.details
    )  # fmt: skip
    for ours, theirs in zip(probed.scores, found.scores, strict=True):
        assert {**vars(ours), "total_R": 0, "weight_R": 0} == {**vars(theirs), "total_R": 0, "weight_R": 0}
        np.testing.assert_array_equal(ours.total_R, theirs.total_R)
        np.testing.assert_array_equal(ours.weight_R, theirs.weight_R)
    assert {path.name for path in tmp_path.iterdir()} == {JSON, ARRAYS}


def test_the_json_holds_the_values(probed, tmp_path):
    write(tmp_path, probed)
    saved = json.loads((tmp_path / JSON).read_text())
    assert saved["scores"]["a.loss"]["value"] == 1.5
    assert saved["scores"]["b.accuracy"] == {
        "value": 0.0, "rows": 3, "weight": 3.0, "better": "higher", "unit": "", "chance": 0.5
    }  # fmt: skip


def test_no_weight_is_no_value(tmp_path):
    score = Score(name="a", total_R=np.zeros(1), weight_R=np.zeros(1), better="lower")
    assert math.isnan(score.value)
    write(tmp_path, Probed(step=0, settings={}, scores=(score,)))
    assert json.loads((tmp_path / JSON).read_text())["scores"]["a"]["value"] is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / ARRAYS).unlink(),
        lambda f: (f / JSON).write_text("{}"),
        lambda f: (f / ARRAYS).write_bytes(b"x"),
    ],
)
def test_files_that_do_not_fit_are_one_line(probed, tmp_path, damage):
    write(tmp_path, probed)
    damage(tmp_path)
    with pytest.raises(UserError, match="probe again"):
        read(tmp_path)
