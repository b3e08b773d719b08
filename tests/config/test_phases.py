"""The phases of a run: which steps have which rows, rates and pieces of the schedule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import differences, load, resolve, to_dict
from bert_jax.config.phases import config_at, phases, schedule_pieces, token_slots


def config_of(length=128, *parts, steps=1000, slots=0, rate=0.15, **groups):
    return resolve(
        {
            "data": {"sequence_length": length},
            "masking": {"max_predictions": slots, "rate": rate},
            "train": {"steps": steps, "batch_size": 16},
            "optim": {"warmup_steps": 0},
            "phases": parts,
            **groups,
        }
    )


def two(first, share=0.9):
    return ({"share": share, "sequence_length": first}, {"share": 1 - share})


def outline(config):
    """(start, stop, L, M) of each phase."""
    return [
        (phase.start, phase.stop, phase.config.data.sequence_length, phase.config.masking.max_predictions)
        for phase in phases(config)
    ]


def test_a_run_that_names_none_is_one_phase():
    config = config_of()
    [phase] = phases(config)
    assert (phase.start, phase.stop, phase.first_row) == (0, 1000, 0)
    assert phase.config == config


def test_the_published_phases():
    """Devlin et al. 2019, A.2: "sequence length of 128 for 90% of the steps", then 512."""
    config = config_of(512, *two(128), steps=1_000_000)
    assert outline(config) == [(0, 900_000, 128, 20), (900_000, 1_000_000, 512, 77)]


def test_any_number_of_phases_each_with_its_own_values():
    """Three, as ModernBERT's: length, batch, mask rate and packing change; rows are counted on."""
    config = config_of(
        64,
        {"share": 0.5, "masking_rate": 0.3, "sequence_length": 32},
        {"share": 0.3, "batch_size": 4, "packing": 2},
        {"share": 0.2, "batch_size": 8, "masking_rate": 0.05, "frozen": ("^bert/embeddings/",)},
        steps=10,
    )
    found = phases(config)
    assert outline(config) == [(0, 5, 32, 10), (5, 8, 64, 10), (8, 10, 64, 4)]
    assert [p.config.train.batch_size for p in found] == [16, 4, 8]
    assert [p.config.masking.rate for p in found] == [0.3, 0.15, 0.05]
    assert [p.config.data.packing for p in found] == [1, 2, 1]
    assert [p.first_row for p in found] == [0, 80, 92]
    assert [p.frozen for p in found] == [(), (), ("^bert/embeddings/",)]
    assert token_slots(config) == 5 * 16 * 32 + 3 * 4 * 64 + 2 * 8 * 64


def test_a_phase_that_sets_a_rate_begins_a_piece_of_the_schedule():
    config = config_of(
        128,
        {"share": 0.4},
        {"share": 0.2, "sequence_length": 64},
        {"share": 0.3, "learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 5},
        {"share": 0.1, "schedule": "linear"},
        steps=100,
    )
    pieces = [
        (start, stop, optim.learning_rate, optim.schedule, optim.warmup_steps)
        for start, stop, optim in schedule_pieces(config)
    ]
    assert pieces == [
        (0, 60, 1e-4, "linear", 0),
        (60, 90, 1e-3, "constant", 5),
        (90, 100, 1e-3, "linear", 0),
    ]


def test_a_checkpoint_is_of_the_phase_that_made_its_last_update():
    config = resolve(
        {
            "data": {"sentence_objective": "none", "sequence_length": 64},
            "model": {"preset": "ettin-17m"},
            "train": {"steps": 10},
            "optim": {"warmup_steps": 1},
            "phases": ({"share": 0.4, "rotary_base": 100.0}, {"share": 0.6, "rotary_local_base": 50.0}),
        }
    )
    bases = {step: config_at(config, step).model.rotary for step in (0, 1, 4, 5, 10)}
    assert {step: rotary.base for step, rotary in bases.items()} == {
        0: 100.0, 1: 100.0, 4: 100.0, 5: 160_000.0, 10: 160_000.0,
    }  # fmt: skip
    assert (bases[4].local_base, bases[5].local_base) == (160_000.0, 50.0)


def test_the_first_phase_keeps_the_warmup_of_the_run():
    config = config_of(
        128, {"share": 0.5, "learning_rate": 3e-4}, {"share": 0.5}, steps=100, optim={"warmup_steps": 7}
    )
    [(start, stop, optim)] = schedule_pieces(config)
    assert (start, stop, optim.learning_rate, optim.warmup_steps) == (0, 100, 3e-4, 7)


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
    config = config_of(length, *two(first), slots=slots)
    assert outline(config)[0][3] == expected
    assert outline(config)[1][3] == config.masking.max_predictions


@pytest.mark.parametrize(
    ("steps", "share", "change"), [(10, 0.9, 9), (7, 0.5, 4), (5, 0.5, 2), (12, 0.34, 4), (2, 0.5, 1)]
)
def test_the_change_is_at_the_nearest_step(steps, share, change):
    found = outline(config_of(64, *two(16, share), steps=steps))
    assert [(start, stop) for start, stop, _, _ in found] == [(0, change), (change, steps)]


@settings(max_examples=50, deadline=None)
@given(st.integers(9, 512), st.data(), st.integers(2, 10**6), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_phases_have_no_gap_and_differ_in_their_rows_alone(length, data, steps, share, rate):
    first = data.draw(st.integers(8, length - 1))
    slots = data.draw(st.integers(0, length))
    if round(share * steps) in (0, steps):
        share = 0.5
    config = config_of(length, *two(first, share), steps=steps, rate=rate, slots=slots)
    found = phases(config)
    assert [(found[0].start, found[1].stop), found[0].stop] == [(0, steps), found[1].start]
    assert found[1].first_row == found[0].steps * 16
    for phase in found:
        assert resolve(to_dict(phase.config)) == phase.config
        assert 1 <= phase.config.masking.max_predictions <= phase.config.data.sequence_length
        ignored = ["data.sequence_length", "phases", "masking.max_predictions"]
        assert differences(phase.config, config, ignore=ignored) == []


FILE = """
from bert_jax.config import base

def get_config():
    config = base()
    config.optim.warmup_steps = 0
    config.phases = ({"share": 0.5, "sequence_length": 32}, {"share": 0.5, "frozen": ("a", "b")})
    return config
"""


def test_a_file_the_command_line_and_json_say_the_same(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(FILE)
    written = load(str(path))
    plain = tmp_path / "plain.py"
    plain.write_text(FILE.replace("    config.phases", "    #"))
    text = ";".join(map(str, written.phases))
    assert text == "share=0.5,sequence_length=32;share=0.5,frozen=a|b"
    assert load(str(plain), [f"phases={text}"]) == written == resolve(to_dict(written))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("share=0.5,lenght=3;share=0.5", "config.phases[0].lenght is unknown"),
        ("share=x", "config.phases[0].share='x' must be a finite number"),
        ("nonsense", "config.phases[0].nonsense is unknown"),
    ],
)
def test_what_the_command_line_says_wrongly_is_named(tmp_path, text, part):
    path = tmp_path / "x.py"
    path.write_text(FILE)
    with pytest.raises(Exception, match=r"config\.phases") as refusal:
        load(str(path), [f"phases={text}"])
    assert part in str(refusal.value)


@pytest.mark.parametrize("key", ["data.first_length", "data.first_share"])
def test_the_old_spelling_is_answered_with_the_new_one(tmp_path, key):
    path = tmp_path / "x.py"
    path.write_text(FILE)
    with pytest.raises(Exception, match=rf"config.{key} is no longer an option: it is config.phases"):
        load(str(path), [f"{key}=64"])
