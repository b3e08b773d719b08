"""FLOPs against the published arithmetic; metrics.jsonl after a kill."""

import json

import pytest

from bert_jax import config as configs
from bert_jax.errors import UserError
from bert_jax.tasks.choose import task_of
from bert_jax.training import metrics
from bert_jax.training.hardware import peak_flops


def row_flops(config):
    [phase] = task_of(config).phases
    return phase.flops / phase.batch_size


@pytest.mark.parametrize(
    ("preset", "length", "per_token"),
    [
        # 6 L (4 d^2 + 2 d f) + 12 L S d per token by hand: 509.6 + 14.2 MFLOP for base at 128, and so on.
        ("bert-base", 128, 509.6e6 + 14.2e6),
        ("bert-base", 512, 509.6e6 + 56.6e6),
        ("bert-large", 128, 1811.9e6 + 37.7e6),
        ("bert-large", 512, 1811.9e6 + 151.0e6),
    ],
)
def test_flops_are_the_published_formula(preset, length, per_token):
    config = configs.resolve({"model": {"preset": preset}, "data": {"sequence_length": length}})
    d = config.model.hidden_size
    head = 6 * config.masking.max_predictions * (d * d + d * 30522)
    assert row_flops(config) == pytest.approx(length * per_token + head, rel=1e-3)


def test_a_packed_row_computes_what_a_full_one_does():
    """Attention between its examples is masked, not left out."""
    plain, packed = (
        configs.resolve({"data": {"packing": packing}, "model": {"preset": "bert-tiny"}})
        for packing in (1, 4)
    )
    assert row_flops(packed) == row_flops(plain)


def test_reopening_at_a_step_leaves_each_step_once(tmp_path):
    log = metrics.MetricsLog(tmp_path, resume_step=None)
    for step in (10, 20, 30):
        log.write(step, "train", {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 40, "split": "tr')  # killed while writing
    log = metrics.MetricsLog(tmp_path, resume_step=20)
    log.write(30, "train", {"loss": 0.5})
    log.close()
    lines = metrics.read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 0.1), (20, 0.05), (30, 0.5)]


def test_a_run_that_starts_anew_keeps_no_line_of_one_killed_before_it_saved(tmp_path):
    for _ in range(2):
        log = metrics.MetricsLog(tmp_path, resume_step=None)
        log.write(0, "eval", {"loss": 2.0})
        log.write(1, "train", {"loss": 1.0})
        log.close()
    assert [line["step"] for line in metrics.read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]


def test_a_damaged_line_that_is_not_the_last_is_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train"}\noops\n{"step": 2, "split": "train"}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl:2: not a line of metrics"):
        metrics.read_metrics(path)


def test_values_keep_seven_digits_and_nan_survives(tmp_path):
    log = metrics.MetricsLog(tmp_path, resume_step=None)
    log.write(1, "train", {"loss": 1.23456789, "grad_norm": float("nan"), "sequence_length": 128})
    log.close()
    [line] = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] == 1.234568
    assert '"sequence_length": 128' in line
    assert "128.0" not in line
    assert "NaN" in line


def test_an_unknown_device_is_measured_and_virtual_ones_count_once():
    import jax

    one, source = peak_flops(jax.devices()[:1])
    eight, _ = peak_flops(jax.devices())
    assert one == eight > 1e9
    assert "measured" in source
