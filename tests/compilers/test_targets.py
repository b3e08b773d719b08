"""Machines by name, and what is known of their chips."""

import types

import pytest

from bert_jax.compilers import targets
from bert_jax.errors import UsageError, UserError
from bert_jax.training.hardware import peak_flops


@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [("v5e:4x4", 16, (4, 4)), ("v5p:2x2x4", 16, (2, 2, 4)), ("h100:64", 64, (64,)), ("a100:3", 3, (3,))],
)
def test_a_name_says_the_chip_and_how_many(name, count, shape):
    target = targets.parse(name)
    assert (target.count, target.shape, target.name) == (count, shape, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b200:8", "'b200' must be one of v4, v5e, v5p, v6e, a100, h100, h200"),
        ("v5e", "'v5e' must say how many, as in v5e:2x2"),
        ("v5e:", "must say how many"),
        ("v5e:0x2", "must say how many"),
        ("v5e:8", "must have 2 numbers, as in v5e:2x2"),
        ("v5p:2x2", "must have 3 numbers, as in v5p:2x2x2"),
        ("h100:2x4", "must have 1 numbers, as in h100:2"),
        ("h100:12", "12 must be a multiple of the 8 GPUs of a host"),
    ],
)
def test_a_machine_that_there_is_not_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        targets.parse(name)


def test_a_missing_compiler_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"v6e:2x2 needs its compiler: pip install 'bert_jax\[tpu\]'"):
        targets.check_compiler(targets.parse("v6e:2x2"))
    with pytest.raises(UserError, match=r"h100:1 needs its compiler: pip install 'bert_jax\[gpu\]'"):
        targets.check_compiler(targets.parse("h100:1"))


def test_utilisation_is_measured_by_the_same_rates():
    for name, chip in targets.CHIPS.items():
        devices = [types.SimpleNamespace(device_kind=f"{chip.kind} and more", process_index=0)] * 2
        rate, source = peak_flops(devices)
        assert rate == 2 * chip.matrix_flops, name
        assert "datasheet" in source
