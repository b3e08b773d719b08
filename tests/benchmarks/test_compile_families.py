"""The step of every family, small, compiled by the real compilers of a TPU and a GPU: its matmuls are those of the formula.

Where `models.flops` says that it leaves something out, it is worked out here, so that the counts are equal, and hence
those of the two targets.
"""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor

import jax
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.compile import compile_here
from bert_jax.compilers import targets
from bert_jax.compilers.cost import count, totals
from bert_jax.compilers.hlo import parse
from bert_jax.errors import UserError
from bert_jax.tasks.choose import task_of

LENGTH, SLOTS, ROWS, CHIPS = 64, 16, 8, 4
"""ROWS: of a chip"""
# As few layers as have all that a family computes: each takes seconds to compile. Of DeBERTa the last is not computed. A kernel
# of attention would compute scores twice.
_SIZES = {
    "hidden_size": 128, "num_heads": 2, "mlp_size": 256, "num_layers": 1, "dtype": "bfloat16", "attention_backend": "xla",
}  # fmt: skip
FAMILIES = {
    "bert": {"preset": "bert-base"},
    "roberta": {"preset": "roberta-base"},
    "albert": {"preset": "albert-base-v2", "embedding_size": 64, "num_layers": 2},
    "electra": {"preset": "electra-small"},
    "deberta": {"preset": "deberta-base", "num_layers": 2, "relative": {"span": 16}},
    "deberta_v2": {"preset": "deberta-v2-xlarge", "num_layers": 2, "relative": {"buckets": 16}},
    "distilbert": {"preset": "distilbert"},
    "tinybert": {"preset": "tinybert-4"},
    "modernbert": {
        "preset": "modernbert-base",
        "num_layers": 2,
        "pattern": ["global", "local"],
        "window": 16,
    },
    "neobert": {"preset": "neobert"},
    "mosaicbert": {"preset": "mosaicbert-base"},
}


def config_of(family):
    return configs.resolve(
        {
            "model": _SIZES | FAMILIES[family],
            "tokenizer": {"vocab_size": 1024},
            "data": {"sequence_length": LENGTH, "sentence_objective": "none"},
            "masking": {"max_predictions": SLOTS},
            "objective": {"name": "rtd" if family == "electra" else "mlm"},
            "train": {"batch_size": ROWS * CHIPS},
        }
    )


@pytest.fixture(scope="module", params=[f"v5e:2x{CHIPS // 2}", f"h100:{CHIPS}"])
def compiler(request):
    """(target, a process that has loaded its compiler): for all families, as that takes longer than some of them."""
    target = targets.parse(request.param)
    try:
        targets.check_compiler(target)
    except UserError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in targets.environment(target).items():
            patch.setenv(name, value)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            yield target, process


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_matmuls_of_a_family_are_those_of_the_formula(family, compiler):
    target, process = compiler
    config = config_of(family)
    program = process.submit(compile_here, config, target).result()
    sums = totals(count(parse(program.text), hbm=target.memory_spaces))
    expected = program.model_flops / CHIPS + _left_out(config.model)
    assert sums["matrix_flops"] == pytest.approx(expected, rel=1e-6)
    assert sums["unknown_lines"] == 0
    assert min(sums["vector_ops"], sums["hbm_read"], sums["hbm_written"], sums["collective_bytes"]) > 0
    # A chip holds the parameters and AdamW's two moments of each, all in float32.
    params = jax.tree.leaves(jax.eval_shape(task_of(config).init, jax.random.key(0)))
    held = 3 * 4 * sum(leaf.size for leaf in params)
    assert program.argument_bytes == pytest.approx(held, rel=0.1)
    assert held < program.argument_bytes + program.temporary_bytes <= program.needed_bytes


@pytest.mark.slow
def test_a_kernel_of_attention_compiles_and_keeps_scores_out_of_memory(compiler):
    """With dropout; one call forward, and backward one on a TPU and two on a GPU."""
    target, process = compiler
    backend, calls = {"tpu": ("pallas", 2), "cuda": ("triton", 3)}[target.chip.platform]
    programs = []
    for name in ("xla", backend):
        raw = configs.to_dict(config_of("bert"))
        raw["model"] |= {"attention_backend": name}
        raw["data"] |= {"sequence_length": 512}
        programs.append(process.submit(compile_here, configs.resolve(raw), target).result())
    fused = programs[1]
    assert (
        len(re.findall(r"custom_call_target=\"(tpu_custom_call|__gpu\$xla\.gpu\.triton)\"", fused.text))
        == calls
    )
    read, written = (
        [totals(count(parse(p.text), hbm=target.memory_spaces))[name] for p in programs]
        for name in ("hbm_read", "hbm_written")
    )
    assert read[1] + written[1] < read[0] + written[0]


def _left_out(model):
    """What a chip's matmuls take more, or less, than the formula says that they do."""
    tokens, width = ROWS * LENGTH, model.hidden_size
    total = 0
    if not model.mlm_head.transform:
        total -= 6 * ROWS * SLOTS * width**2
    # Blocks of the window meet themselves and both neighbours: 3 S keys, where 2 S + 1 are seen.
    local = [model.reach(layer) for layer in range(model.num_layers)].count("local")
    total += local * 12 * tokens * (model.window - 1) * width
    if model.positions == "disentangled":
        total += _left_out_of_deberta(model)
    return total


def _left_out_of_deberta(model):
    tokens, width, terms = ROWS * LENGTH, model.hidden_size, len(model.relative.terms)
    passes = model.layer_passes - 1
    # A query meets all 2 L distances that there can be, where L are seen.
    distances = passes * terms * 6 * tokens * LENGTH * width
    projections = passes * terms * 6 * model.relative.rows * width**2
    # Forward, the decoder's second pass has the keys and values of its first.
    shared = 2 * 2 * tokens * width**2
    return distances + projections - shared
