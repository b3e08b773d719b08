"""The published sizes: exact parameter counts, found without a device and without jax at import."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import jax
import pytest

from bert_jax.config.model import ModelConfig
from bert_jax.config.presets import PRESETS
from bert_jax.models.bert import parameter_count


# The released checkpoints' encoders, with a pooler where the preset has one. DeBERTa's have the decoder's table
# of absolute positions besides: 512 rows of D more than Hugging Face's, which has no such decoder.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("bert-tiny", 4_385_920),
        ("bert-mini", 11_170_560),
        ("bert-small", 28_763_648),
        ("bert-medium", 41_373_184),
        ("bert-base", 109_482_240),
        ("bert-large", 335_141_888),
        ("bert-base-cased", 108_310_272),
        ("tinybert-4", 14_350_248),
        ("tinybert-6", 66_955_008),
        ("distilbert", 66_362_880),
        ("roberta-base", 124_645_632 - 768 * 769),  # published with a pooler that was never trained
        ("roberta-large", 355_359_744 - 1024 * 1025),
        ("albert-base-v1", 11_683_584),
        ("albert-base-v2", 11_683_584),
        ("albert-large-v2", 17_683_968),
        ("albert-xlarge-v2", 58_724_864),
        ("albert-xxlarge-v2", 222_595_584),
        ("electra-small", 13_483_008),
        ("electra-base", 108_891_648),
        ("electra-large", 334_092_288),
        ("deberta-base", 138_601_728 + 512 * 768),
        ("deberta-v3-xsmall", 70_682_112 + 512 * 384),
        ("deberta-v3-base", 183_831_552 + 512 * 768),
        ("deberta-v3-large", 434_012_160 + 512 * 1024),
        ("deberta-v2-xlarge", 884_593_152 + 512 * 1536),
        ("modernbert-base", 149_014_272),
        ("modernbert-large", 394_781_696),
        ("ettin-17m", 16_797_440),
        ("ettin-32m", 31_883_136),
        ("ettin-68m", 68_144_640),
        ("ettin-1b", 1_028_050_688),
        ("mmbert-small", 140_493_696),
        ("mmbert-base", 306_939_648),
        ("neobert", 221_665_536),
        ("mosaicbert-base", 136_773_120),  # published as 137 M
        ("crammed-bert", 32_768 * 768 + 1 + 768 * 2 * 2 + 16 * (4 * 768**2 + 3 * 768 * 1536 + 4 * 768)),
    ],
)
def test_a_preset_has_as_many_parameters_as_published(name, count):
    assert parameter_count(PRESETS[name]) == count


def test_every_preset_is_filed_under_its_own_name():
    assert {name: config.preset for name, config in PRESETS.items()} == {name: name for name in PRESETS}


def test_heads_are_as_wide_as_published():
    widths = {name: config.head_dim for name, config in PRESETS.items() if config.head_dim != 64}
    assert widths == {"tinybert-4": 26, "albert-xlarge-v1": 128, "albert-xlarge-v2": 128}


def test_the_owner_of_what_layers_share_is_the_first_of_their_group():
    def owners(part, **fields):
        return [ModelConfig(num_layers=6, **fields).owner(part, i) for i in range(6)]

    assert owners("attention") == owners("ffn", sharing="attention") == [0, 1, 2, 3, 4, 5]
    assert owners("ffn", sharing="all") == [0, 0, 0, 0, 0, 0]
    assert owners("attention", sharing="attention", groups=2) == [0, 0, 0, 3, 3, 3]
    assert owners("ffn", sharing="ffn", groups=3) == [0, 0, 2, 2, 4, 4]


def test_a_model_for_cudnn_is_counted_where_there_is_none():
    fused = dataclasses.replace(PRESETS["bert-tiny"], attention_backend="cudnn", dtype="bfloat16")
    assert parameter_count(fused) == parameter_count(PRESETS["bert-tiny"])


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
        parameter_count(PRESETS["bert-large"])
    finally:
        jax.eval_shape = original
    made = [array for array in jax.live_arrays() if id(array) not in before]
    assert sum(seen) >= 335_141_888
    assert sum(array.size for array in made) < 1_000


@pytest.mark.parametrize(
    "module", ["bert_jax", "bert_jax.config", "bert_jax.config.presets", "bert_jax.batch"]
)
def test_the_light_modules_import_neither_jax_nor_tensorflow(module):
    program = f"import sys, {module}; print(sorted({{'jax', 'flax', 'optax', 'tensorflow', 'torch'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_that_check_can_fail():
    program = "import sys, bert_jax.models.parameters; print('jax' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "True\n"
