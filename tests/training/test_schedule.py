"""Schedules against their formulas written out, update by update."""

import math

import pytest

from bert_jax import config as configs
from bert_jax.training.schedule import make_schedule


def make_config(*phases, steps=100, **fields):
    return configs.resolve(
        {
            "model": {"preset": "bert-tiny"},
            "train": {"steps": steps},
            "optim": {"warmup_steps": 10, "learning_rate": 2.0} | fields,
            "phases": phases,
        }
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {0: 1 / 11, 5: 6 / 11, 10: 1.0, 55: 0.5, 100: 0.0}),
        ("cosine", {0: 1 / 11, 10: 1.0, 55: 0.5, 100: 0.0}),
        ("constant", {0: 1 / 11, 10: 1.0, 99: 1.0}),
        ("polynomial", {0: 1 / 11, 10: 1.0, 55: 0.25, 100: 0.0}),
        ("inverse_sqrt", {0: 1 / 11, 10: 1.0, 43: 0.5, 98: 1 / 3}),
        ("wsd", {0: 1 / 11, 10: 1.0, 90: 1.0, 95: 0.5, 100: 0.0}),
        # The original steps down as warmup ends: 0.9 at step 9, then 1 - 10 / 100 at step 10, and 0 at 0.
        ("bert_linear", {0: 0.0, 5: 0.5, 9: 0.9, 10: 0.9, 11: 0.89, 50: 0.5, 100: 0.0}),
    ],
)
def test_schedules(schedule, expected):
    rate = make_schedule(make_config(schedule=schedule))
    for step, share in expected.items():
        assert float(rate(step)) == pytest.approx(2 * share, abs=1e-6), step


@pytest.mark.parametrize(
    "schedule", ["linear", "cosine", "constant", "polynomial", "inverse_sqrt", "wsd", "bert_linear"]
)
def test_without_warmup_the_first_step_is_at_the_peak(schedule):
    rate = make_schedule(make_config(schedule=schedule, warmup_steps=0))
    assert float(rate(0)) == pytest.approx(2.0)


def cosine(progress):
    return (1 + math.cos(math.pi * progress)) / 2


CURVES = {"linear": lambda p: 1 - p, "sqrt": lambda p: 1 - math.sqrt(p), "cosine": cosine}


@pytest.mark.parametrize(
    ("options", "curve", "first"),
    [
        ({"schedule": "linear"}, CURVES["linear"], 3),
        ({"schedule": "cosine"}, cosine, 3),
        ({"schedule": "polynomial", "power": 3.0}, lambda p: (1 - p) ** 3, 3),
        *(
            ({"schedule": "wsd", "decay_share": 0.35, "decay_curve": name}, curve, 13)
            for name, curve in CURVES.items()
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_every_update_of_a_decay_with_and_without_a_floor(options, curve, first, floor):
    """Twenty updates, three of warmup; the decay begins after update `first` and would end at update 20."""
    rate = make_schedule(make_config(steps=20, warmup_steps=3, floor=floor, **options))
    for step in range(20):
        expected = (step + 1) / 4
        if step >= 3:
            expected = floor + (1 - floor) * curve(max(step - first, 0) / (20 - first))
        assert float(rate(step)) == pytest.approx(2 * expected, rel=1e-5, abs=1e-6), step


def test_the_three_phases_of_modernbert_are_three_pieces():
    """Warmup and constant; constant at a lower rate; 1 - sqrt of that to a thousandth: paper, table 3."""
    config = make_config(
        {"share": 0.6, "schedule": "constant"},
        {"share": 0.2, "learning_rate": 0.75, "sequence_length": 256},
        {"share": 0.2, "schedule": "wsd", "decay_share": 1.0, "decay_curve": "sqrt", "floor": 0.001},
        steps=50,
        warmup_steps=4,
    )
    rate, share = make_schedule(config), make_schedule(config, of_peak=True)
    for step in range(50):
        if step < 30:
            peak, expected = 2.0, min((step + 1) / 5, 1)
        else:
            peak, expected = 0.75, 1.0
            if step >= 40:
                expected = 0.001 + 0.999 * (1 - math.sqrt((step - 40) / 10))
        assert float(rate(step)) == pytest.approx(peak * expected, rel=1e-5), step
        assert float(share(step)) == pytest.approx(expected, rel=1e-5), step


def test_a_piece_takes_over_what_it_does_not_set():
    """Ettin: 1 - sqrt to half the rate, then from there to 0.04 of it."""
    options = {"schedule": "wsd", "decay_share": 1.0, "decay_curve": "sqrt"}
    config = make_config(
        {"share": 0.5, "floor": 0.5} | options,
        {"share": 0.5, "learning_rate": 1.0, "floor": 0.08},
        steps=20,
        warmup_steps=0,
    )
    rate = make_schedule(config)
    for step in range(20):
        peak, floor = (2.0, 0.5) if step < 10 else (1.0, 0.08)
        expected = peak * (floor + (1 - floor) * (1 - math.sqrt(step % 10 / 10)))
        assert float(rate(step)) == pytest.approx(expected, rel=1e-5), step


def test_a_ramp_of_the_batch_leaves_the_rate_alone():
    ramp = [{"share": 0.1, "batch_size": size} for size in (64, 128, 192, 256)]
    config = make_config(*ramp, {"share": 0.6}, schedule="cosine")
    plain = make_schedule(make_config(schedule="cosine"))
    assert [(p.start, p.stop, p.config.train.batch_size) for p in configs.phases.phases(config)] == [
        (0, 10, 64), (10, 20, 128), (20, 30, 192), (30, 40, 256), (40, 100, 256),
    ]  # fmt: skip
    assert [float(make_schedule(config)(step)) for step in range(100)] == [
        float(plain(step)) for step in range(100)
    ]
