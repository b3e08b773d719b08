"""The step compiled for a machine that is not here: by the CPU's compiler in place of its own, and by its own."""

import dataclasses
import importlib.util
import json

import pytest

from bert_jax.__main__ import main
from bert_jax.benchmarks import compile as compiling
from bert_jax.benchmarks import scaling
from bert_jax.compilers import targets
from bert_jax.errors import UsageError, UserError
from bert_jax.tasks.choose import task_of


@pytest.fixture
def small(prepared):
    """A step that compiles in a moment, for four devices."""
    return dataclasses.replace(prepared, train=dataclasses.replace(prepared.train, batch_size=16))


def test_a_chips_share_is_counted_and_drawn(small, in_place, tmp_path, capsys):
    files = {"hlo": tmp_path / "step.hlo", "html": tmp_path / "step.html"}
    values = compiling.measure(small, target="h100:4", heaviest=3, **files)
    [phase] = task_of(small).phases
    assert values["flops"] * 4 == pytest.approx(phase.flops, rel=0.05)  # pooler and pair head besides
    assert sum(values["hbm_bytes_by"].values()) == values["hbm_bytes"]
    assert values["hbm_bytes_by"]["mlp"] > 0
    assert values["collective_bytes"] > 0
    assert values["batch"] == [16, 32]
    assert json.loads(json.dumps(values)) == values
    shown = capsys.readouterr().out
    for text in ("on h100:4, batch 16 of rows of 32", "the bound: ", "all-reduce", "What moves most"):
        assert text in shown
    assert files["hlo"].read_text().startswith("HloModule")
    assert "<h2>By kind</h2>" in files["html"].read_text()


def test_more_than_the_memory_is_refused_in_one_line(small, in_place, monkeypatch):
    tiny = dataclasses.replace(targets.CHIPS["v5e"], memory_bytes=2.0**16)
    monkeypatch.setitem(targets.CHIPS, "v5e", tiny)
    with pytest.raises(
        UserError,
        match=r"batch_size=16 of rows of 32 needs [0-9.e-]+ GiB a chip and does not fit the 6.1e-05 GiB",
    ):
        compiling.measure(small, target="v5e:2x2")


@pytest.mark.slow
def test_a_model_of_which_no_row_fits_is_refused(small, in_place, monkeypatch):
    tiny = dataclasses.replace(targets.CHIPS["v5e"], memory_bytes=2.0**16)
    monkeypatch.setitem(targets.CHIPS, "v5e", tiny)
    with pytest.raises(UserError, match="not one row fits a chip of v5e:2x2"):
        compiling.measure(small, target="v5e:2x2", fit=True)


@pytest.mark.slow
def test_fit_finds_the_largest_batch(small, in_place, monkeypatch):
    needed = {}

    def compiled(config, target, baseline):
        program = compiling.compile_here(config, target, baseline)
        needed[config.train.batch_size] = program.needed_bytes
        return program

    monkeypatch.setattr(compiling, "in_a_new_process", lambda environment, function, *args: compiled(*args))
    compiling.measure(small, target="v5e:2x2")
    room = dataclasses.replace(targets.CHIPS["v5e"], memory_bytes=1.9 * needed[16])
    monkeypatch.setitem(targets.CHIPS, "v5e", room)
    values = compiling.measure(small, target="v5e:2x2", fit=True)
    size = values["batch"][0]
    assert needed[size] <= room.memory_bytes < 1.2 * needed[size]
    assert size > 16


@pytest.mark.slow
def test_more_chips_compute_the_same_and_send_more(small, in_place, capsys):
    values = scaling.measure(small, target="h100:2,h100:8")
    few, many = values["targets"]
    assert (few["batch"], many["batch"]) == ([16, 32], [64, 32])
    assert many["computing_ms"] == pytest.approx(few["computing_ms"], rel=0.05)
    # A ring of n sends 2 (n - 1) / n of what it sums.
    assert many["collective_bytes"] / few["collective_bytes"] == pytest.approx((7 / 8) / (1 / 2), rel=0.05)
    assert 0 < many["efficiency"] < few["efficiency"] < 1
    assert "8 rows a chip" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["v5e:2x2", "v5e:2x2,h100:8"])
def test_scaling_is_over_one_kind_of_chip(target, small, in_place):
    with pytest.raises(UsageError, match="must be several numbers of one kind of chip"):
        scaling.measure(small, target=target)


@pytest.mark.parametrize(
    ("needed", "fails", "rows"),
    [
        ({}, {8}, 4),  # nothing fits yet: half
        ({4: 60}, set(), 8),  # one point: twice
        ({4: 60, 8: 80}, set(), 12),  # 5 a row: 4 more fit 100
        ({4: 60, 8: 80}, {12}, 11),
        ({11: 97}, {12}, 11),  # tried before: done
        ({}, {1}, 0),
    ],
)
def test_the_next_batch_is_on_the_line_through_those_that_fit(needed, fails, rows):
    assert compiling.next_rows(needed, fails, 100) == rows


@pytest.mark.slow
@pytest.mark.parametrize(("target", "module"), [("v5e:2x2", "libtpu"), ("h100:1", "jax_plugins.xla_cuda13")])
@pytest.mark.parametrize("experiment", ["bert_tiny", "quickstart"])
def test_the_compilers_themselves(target, module, experiment, capsys):
    if importlib.util.find_spec(module.partition(".")[0]) is None or importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert (
        main(["bench", "--what", "compile", "--config", f"experiments/{experiment}.py", "--target", target])
        == 0
    )
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["unknown"] == 0
    assert 0 < values["mfu_at_bound"] < 1
    assert values["hbm_bytes_by"].get("other", 0) < 0.1 * values["hbm_bytes"]
