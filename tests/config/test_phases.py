"""The phases of a run: which steps have which rows."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import differences, resolve, to_dict
from bert_jax.config.phases import phases


def config_of(length, *, steps=1000, slots=0, rate=0.15, **data):
    return resolve(
        {
            "data": {"sequence_length": length, **data},
            "masking": {"max_predictions": slots, "rate": rate},
            "train": {"steps": steps},
            "optim": {"warmup_steps": 0},
        }
    )


def outline(config):
    """(start, stop, L, M) of each phase."""
    return [
        (phase.start, phase.stop, phase.config.data.sequence_length, phase.config.masking.max_predictions)
        for phase in phases(config)
    ]


def test_one_length_is_one_phase():
    config = config_of(128)
    [phase] = phases(config)
    assert (phase.start, phase.stop) == (0, 1000)
    assert phase.config == config


def test_the_published_phases():
    """Devlin et al. 2019, A.2: "sequence length of 128 for 90% of the steps", then 512."""
    config = config_of(512, first_length=128, steps=1_000_000)
    assert outline(config) == [(0, 900_000, 128, 20), (900_000, 1_000_000, 512, 77)]


@pytest.mark.parametrize(
    ("length", "first", "slots", "expected"),
    [
        (512, 128, 80, 20),  # chosen: the first phase has its share
        (512, 120, 80, 19),  # 18.75, rounded up
        (100, 8, 1, 1),  # at least one
        (512, 128, 512, 128),  # never more than the row has tokens
        (512, 120, 77, 18),  # 77 is what the rate gives: so is the first phase's
        (512, 120, 0, 18),
    ],
)
def test_prediction_slots_of_the_first_phase(length, first, slots, expected):
    config = config_of(length, first_length=first, slots=slots)
    assert outline(config)[0][3] == expected
    assert outline(config)[1][3] == config.masking.max_predictions


@pytest.mark.parametrize(
    ("steps", "share", "change"), [(10, 0.9, 9), (7, 0.5, 4), (5, 0.5, 2), (12, 0.34, 4), (2, 0.5, 1)]
)
def test_the_change_is_at_the_nearest_step(steps, share, change):
    found = outline(config_of(64, first_length=16, first_share=share, steps=steps))
    assert [(start, stop) for start, stop, _, _ in found] == [(0, change), (change, steps)]


@settings(max_examples=50, deadline=None)
@given(st.integers(9, 512), st.data(), st.integers(2, 10**6), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_phases_have_no_gap_and_differ_in_their_rows_alone(length, data, steps, share, rate):
    first = data.draw(st.integers(8, length - 1))
    slots = data.draw(st.integers(0, length))
    if round(share * steps) in (0, steps):
        share = 0.5
    config = config_of(length, steps=steps, rate=rate, slots=slots, first_length=first, first_share=share)
    found = phases(config)
    assert [(found[0].start, found[1].stop), found[0].stop] == [(0, steps), found[1].start]
    for phase in found:
        assert resolve(to_dict(phase.config)) == phase.config
        assert 1 <= phase.config.masking.max_predictions <= phase.config.data.sequence_length
        ignored = ["data.sequence_length", "data.first_length", "masking.max_predictions"]
        assert differences(phase.config, config, ignore=ignored) == []
    alone = dataclasses.replace(config, data=dataclasses.replace(config.data, first_length=0))
    assert found[1].config == alone
