"""`bench`: flags to one call, and its last line is JSON."""

import json

import pytest

from bert_jax.__main__ import main


@pytest.fixture
def calls(monkeypatch):
    """What the benchmarks were asked to measure: (name, options)."""
    found = []

    def play(name):
        def measure(config, **options):
            found.append((name, options))
            return {"length": config.data.sequence_length}

        return measure

    for name in ("step", "compile", "pipeline", "prepare", "latency"):
        monkeypatch.setattr(f"bert_jax.benchmarks.{name}.measure", play(name))
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--what", "step", "--baseline", "hf"],
            ("step", {"seconds": 10.0, "repeats": 3, "baseline": "hf"}),
        ),
        (
            ["--what", "pipeline", "--seconds", "2", "--repeats", "1"],
            ("pipeline", {"seconds": 2.0, "repeats": 1, "baseline": None, "experiment": "FILE"}),
        ),
        (
            ["--what", "latency", "--length", "64"],
            ("latency", {"seconds": 10.0, "repeats": 3, "baseline": None, "batch": 1, "length": 64}),
        ),
        (
            ["--what", "compile", "--target", "v5e:2x2", "--fit", "--heaviest", "9"],
            (
                "compile",
                {
                    "target": "v5e:2x2",
                    "fit": True,
                    "heaviest": 9,
                    "hlo": None,
                    "html": None,
                    "baseline": None,
                },
            ),
        ),
        (
            ["--what", "compile", "--target", "h100:8", "--baseline", "hf-flax"],
            (
                "compile",
                {
                    "target": "h100:8",
                    "fit": None,
                    "heaviest": None,
                    "hlo": None,
                    "html": None,
                    "baseline": "hf-flax",
                },
            ),
        ),
        (["--what", "prepare", "--processes", "3"], ("prepare", {"repeats": 3, "processes": 3})),
        (["--what", "prepare", "--repeats", "2"], ("prepare", {"repeats": 2, "processes": None})),
    ],
)
def test_flags_become_one_call_whose_values_are_the_last_line(arguments, expected, calls, experiment, capsys):
    assert main(["bench", "--config", str(experiment), *arguments]) == 0
    name, options = expected
    if "experiment" in options:
        options = {**options, "experiment": str(experiment)}
    assert calls == [(name, options)]
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"length": 32}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "prepare", "--baseline", "hf"], "--baseline hf has no effect with --what prepare"),
        (["--what", "pipeline", "--processes", "2"], "--processes 2 has no effect with --what pipeline"),
        (["--what", "prepare", "--processes", "0"], "--processes 0 must be > 0"),
        (["--what", "pipeline", "--repeats", "0"], "--repeats 0 must be > 0"),
        (["--what", "pipeline", "--seconds", "nan"], "--seconds nan"),
        (["--what", "finetune"], "--what finetune needs --init"),
        (["--what", "step", "--init", "m"], "--init m has no effect with --what step"),
        (["--what", "latency", "--batch", "0"], "--batch 0 must be > 0"),
        (["--what", "compile"], "--what compile needs --target"),
        (["--what", "compile", "--target", "v5e:2x2", "--repeats", "2"], "--repeats 2 has no effect"),
        (["--what", "step", "--baseline", "hf-flax"], "--baseline hf-flax must be hf with --what step"),
        (
            ["--what", "compile", "--target", "h100:1", "--baseline", "hf"],
            "--baseline hf must be hf-flax with --what compile",
        ),
        (["--what", "step", "--fit"], "--fit has no effect with --what step"),
    ],
)
def test_options_without_effect_or_sense_are_refused(arguments, message, capsys):
    assert main(["bench", "--config", "x.py", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_baseline_of_the_step_has_no_packed_rows(experiment, capsys):
    argv = ["bench", "--what", "step", "--baseline", "hf", "--config", str(experiment)]
    assert main([*argv, "--config.data.packing=2"]) == 2
    assert "config.data.packing=2 must be 1" in capsys.readouterr().err


def test_a_phase_is_chosen_by_its_number(calls, experiment, capsys):
    with experiment.open("a") as file:
        file.write("\n\nof_one_phase = get_config\n\n\ndef get_config():\n    config = of_one_phase()\n")
        file.write(
            '    config.phases = ({"share": 0.5, "sequence_length": 16}, {"share": 0.5})\n    return config\n'
        )
    step = ["bench", "--what", "step", "--config", str(experiment)]
    for arguments, length in ([], 32), (["--phase", "1"], 16), (["--phase", "2"], 32):
        assert main([*step, *arguments]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"length": length}
    assert main([*step, "--phase", "3"]) == 2
    assert "--phase 3 must be at most 2" in capsys.readouterr().err
