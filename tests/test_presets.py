"""The published sizes: exact parameter counts, found without a device and without jax at import."""

from __future__ import annotations

import subprocess
import sys

import jax
import pytest

from bert_jax.models.presets import PRESETS, parameter_count


# Google's checkpoints of Devlin et al. 2019 and Turc et al. 2019: the encoder with its pooler.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("bert-tiny", 4_385_920),
        ("bert-mini", 11_170_560),
        ("bert-small", 28_763_648),
        ("bert-medium", 41_373_184),
        ("bert-base", 109_482_240),
        ("bert-large", 335_141_888),
    ],
)
def test_a_preset_has_as_many_parameters_as_published(name, count):
    assert parameter_count(name) == parameter_count(PRESETS[name]) == count


def test_every_preset_is_filed_under_its_own_name():
    assert {name: config.preset for name, config in PRESETS.items()} == {name: name for name in PRESETS}


def test_heads_are_64_wide_as_published():
    assert {config.head_dim for config in PRESETS.values()} == {64}


def test_counting_allocates_nothing():
    """Counting makes no array of the model's size: bert-large would be 1.3 GB."""
    before = {id(array) for array in jax.live_arrays()}
    seen: list[int] = []
    original = jax.eval_shape

    def watched(*args, **kwargs):
        result = original(*args, **kwargs)
        seen.extend(leaf.size for leaf in jax.tree.leaves(result))
        assert not any(hasattr(leaf, "addressable_shards") for leaf in jax.tree.leaves(result))
        return result

    jax.eval_shape = watched
    try:
        parameter_count("bert-large")
    finally:
        jax.eval_shape = original
    made = [array for array in jax.live_arrays() if id(array) not in before]
    assert sum(seen) >= 335_141_888
    assert sum(array.size for array in made) < 1_000


@pytest.mark.parametrize(
    "module", ["bert_jax", "bert_jax.config", "bert_jax.models.presets", "bert_jax.batch"]
)
def test_the_light_modules_import_neither_jax_nor_tensorflow(module):
    program = f"import sys, {module}; print(sorted({{'jax', 'flax', 'optax', 'tensorflow', 'torch'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_that_check_can_fail():
    program = "import sys, bert_jax.models.axes; print('jax' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "True\n"
