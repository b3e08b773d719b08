"""What is gathered from a sweep's folder, against what was put there."""

import json

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.probes import scores
from bert_jax.sweeps.reporting.comparisons import compare, family_size
from bert_jax.sweeps.reporting.results import gather
from tests.sweeps.reporting import finished_sweep as made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "S"
    made.write(path, failed="nsp-seed1", interrupted="sop-seed2", rows=300)
    return path


@pytest.fixture(scope="module")
def results(folder):
    return gather(folder)


def by_name(results):
    return {result.trial.name: result for result in results.trials}


def test_every_trial_is_there_with_its_state(results):
    states = {name: (r.status, r.state.step, r.counts) for name, r in by_name(results).items()}
    finished = ("finished", made.STEPS, True)
    assert states == {
        **{f"{variant}-seed{seed}": finished for variant in made.VARIANTS for seed in (0, 1, 2)},
        "nsp-seed1": ("failed", 100, False),
        "sop-seed2": ("interrupted", 250, False),
    }
    assert [r.trial.seed for r in results.of("nsp")] == [0, 2]
    assert len(results.of("nsp", counting=False)) == 3


def test_values_are_the_scores_and_the_last_held_out_line(folder, results):
    probed = scores.read(folder / "trials" / "sop-seed1")
    lines = [
        json.loads(line) for line in (folder / "trials/sop-seed1/metrics.jsonl").read_text().splitlines()
    ]
    last = [line for line in lines if line["split"] == "eval"][-1]
    held_out = {f"held_out.{k}": v for k, v in last.items() if k not in ("step", "split", "sequence_length")}
    found = by_name(results)["sop-seed1"]
    assert found.values == {**{s.name: s.value for s in probed.scores}, **held_out}
    assert [point.step for point in found.curve] == [0, 100, 200, 300, 400]
    assert [point.tokens for point in found.curve] == [s * 16 * 32 for s in (0, 100, 200, 300, 400)]


def test_an_unfinished_trial_keeps_its_curve_and_enters_no_value(results):
    found = by_name(results)["sop-seed2"]
    assert ([point.step for point in found.curve], found.values, found.cost) == ([0, 100, 200], {}, None)
    assert set(results.values("sop", "mlm.loss")) == {0, 1}


def test_held_out_values_are_of_the_last_step_or_none(tmp_path):
    made.write(tmp_path / "S", seeds=(0,), rows=50)
    file = tmp_path / "S/trials/none-seed0/metrics.jsonl"
    lines = [line for line in file.read_text().splitlines() if json.loads(line)["step"] < made.STEPS]
    file.write_text("\n".join(lines) + "\n")
    results = gather(tmp_path / "S")
    assert set(by_name(results)["none-seed0"].values) == {"mlm.loss", "mlm.accuracy", "sop.accuracy"}


def test_cost_is_counted_from_sizes_and_logged_rates(results):
    cost = by_name(results)["none-seed1"].cost
    rows = made.STEPS * made.BATCH
    layers, width, mlp, length, vocabulary = 2, 128, 512, made.LENGTH, 512
    layer = 6 * length * (4 * width**2 + 2 * width * mlp) + 12 * length**2 * width
    head = 6 * made.PREDICTIONS * width * (width + vocabulary)
    assert cost.tokens == rows * length
    assert cost.flops == pytest.approx(rows * (layers * layer + head))
    assert cost.hours == pytest.approx(rows / (made.RATE * 1.02) / 3600)
    assert cost.tokens_per_s == pytest.approx(made.RATE * 1.02 * length)
    assert cost.mfu == pytest.approx(0.4)
    assert cost.wall_hours == pytest.approx(180 / 3600)


def test_hours_and_mfu_weigh_each_line_by_its_steps(tmp_path):
    made.write(tmp_path / "S", seeds=(0,), rows=50)
    file = tmp_path / "S/trials/none-seed0/metrics.jsonl"
    lines = [
        {"step": 300, "split": "train", "loss": 1.0, "sequences_per_s": 100.0, "mfu": 0.5},
        {"step": 400, "split": "train", "loss": 1.0, "sequences_per_s": 50.0, "mfu": 0.2},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    cost = by_name(gather(tmp_path / "S"))["none-seed0"].cost
    first, second = 300 * 16 / 100, 100 * 16 / 50
    assert cost.hours == pytest.approx((first + second) / 3600)
    assert cost.mfu == pytest.approx((0.5 * first + 0.2 * second) / (first + second))


def test_a_trial_without_train_lines_costs_no_known_hours(tmp_path):
    made.write(tmp_path / "S", seeds=(0,), rows=50)
    (tmp_path / "S/trials/none-seed0/metrics.jsonl").unlink()
    (tmp_path / "S/attempts/none-seed0.jsonl").unlink()
    cost = by_name(gather(tmp_path / "S"))["none-seed0"].cost
    assert (cost.hours, cost.mfu, cost.tokens_per_s, cost.wall_hours) == (None, None, None, None)


def test_measures_know_their_kind(results):
    kinds = {name: (m.better, m.is_share, m.unit, m.chance) for name, m in results.measures.items()}
    assert kinds["mlm.loss"] == ("lower", False, "nats per masked token", None)
    assert kinds["sop.accuracy"] == ("higher", True, "%", 0.5)
    assert kinds["held_out.pair_accuracy"] == ("higher", True, "%", None)
    assert kinds["held_out.loss"][:2] == ("lower", False)
    assert list(results.measures)[:3] == list(made.MEASURES)


@pytest.mark.parametrize("damage", ["arrays", "json", "metrics"])
def test_a_damaged_trial_is_shown_and_the_rest_counts(tmp_path, damage):
    made.write(tmp_path / "S", seeds=(0, 1), rows=50)
    trial = tmp_path / "S/trials/sop-seed1"
    if damage == "arrays":
        made.unreadable(tmp_path / "S", "sop-seed1")
    elif damage == "json":
        (trial / scores.JSON).write_text("{")
    else:
        (trial / "metrics.jsonl").write_text("no line\n{}\n")
    results = gather(tmp_path / "S")
    bad = by_name(results)["sop-seed1"]
    assert (bad.status, bad.counts, bad.values) == ("unreadable", False, {})
    assert bad.fault.startswith("trials/sop-seed1")
    assert sum(r.counts for r in results.trials) == 5


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(UserError, match="not the folder of a sweep"):
        gather(tmp_path)


# ---------------------------------------------------------------------------------------------
# Comparisons
# ---------------------------------------------------------------------------------------------


def test_variants_are_compared_on_the_seeds_and_rows_that_both_have(results):
    found = {(c.measure.name, c.variant): c for c in compare(results)}
    assert list(found) == [(measure, variant) for measure in made.MEASURES for variant in made.VARIANTS]
    order = found["sop.accuracy", "sop"]
    values = {variant: results.values(variant, "sop.accuracy") for variant in ("none", "sop")}
    assert order.difference.value == pytest.approx(
        np.mean([values["sop"][s] - values["none"][s] for s in (0, 1)])
    )
    assert (order.summary.n, order.planned, order.difference.seeds, order.difference.rows) == (2, 3, 2, 300)
    assert found["held_out.mlm_loss", "nsp"].difference.rows == 0
    assert found["mlm.loss", "none"].verdict == "baseline"
    assert family_size(list(found.values())) == 6


def test_verdicts_follow_the_direction_that_is_better(tmp_path):
    made.write(tmp_path / "S", variants={"none": (5.9, 0.5), "sop": (7.9, 0.9)}, rows=300, published=None)
    found = {(c.measure.name, c.variant): c.verdict for c in compare(gather(tmp_path / "S"))}
    assert found["mlm.loss", "sop"] == "worse"
    assert found["sop.accuracy", "sop"] == "better"


def test_trials_scored_on_other_rows_are_compared_by_seeds_alone(tmp_path):
    made.write(tmp_path / "S", rows=60)
    file = tmp_path / "S/trials/sop-seed1/probes.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "settings": {"corpus": "another"}}))
    found = {c.variant: c.difference for c in compare(gather(tmp_path / "S")) if c.measure.name == "mlm.loss"}
    assert (found["nsp"].rows, found["sop"].rows, found["sop"].seeds) == (60, 0, 3)


def test_one_seed_is_compared_by_rows_and_not_at_all_without_them(tmp_path):
    made.write(tmp_path / "S", seeds=(4,), rows=60)
    found = {(c.measure.name, c.variant): c for c in compare(gather(tmp_path / "S"))}
    assert found["mlm.loss", "sop"].difference.low is not None
    assert found["held_out.mlm_loss", "sop"].difference.low is None
    assert found["held_out.mlm_loss", "sop"].verdict == "not tested"
    assert family_size(list(found.values())) == 4


def test_what_a_variant_does_not_measure_is_not_called_unfinished(tmp_path):
    made.write(tmp_path / "S", seeds=(0, 1), rows=60)
    for seed in (0, 1):
        file = tmp_path / f"S/trials/sop-seed{seed}/metrics.jsonl"
        file.write_text(file.read_text().replace("mlm_loss", "rtd_loss"))
    found = {c.variant: c for c in compare(gather(tmp_path / "S")) if c.measure.name == "held_out.mlm_loss"}
    assert (found["sop"].verdict, found["sop"].summary.n, found["sop"].finished) == ("not measured", 0, 2)
    assert (found["nsp"].verdict, found["none"].verdict) == ("too small to tell", "baseline")
