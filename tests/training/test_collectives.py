"""What devices exchange in a step: parameters and gradients, and over "tensor" the sums of Megatron's blocks; nothing else.

Shoeybi et al. 2019 ("Megatron-LM", section 3): a sum of activations after attention and after the MLP, forward and
backward. Rajbhandari et al. 2020 ("ZeRO"): parameters gathered, gradients summed.
"""

import collections

import jax
import pytest

from bert_jax import config as configs
from bert_jax.compilers.cost import count
from bert_jax.compilers.hlo import parse
from bert_jax.compilers.shapes import arrays
from bert_jax.models.parameters import path_name
from bert_jax.tasks.choose import task_of
from bert_jax.training.trainer import Trainer

ROWS, LENGTH = 16, 24  # neither is a size of any parameter below
MODEL = {
    "preset": "bert-tiny",
    "hidden_size": 32,
    "num_heads": 4,
    "mlp_size": 64,
    "num_layers": 2,
    "max_positions": 40,
}
MODELS = {
    "bert": {},
    "bert-scan": {"layers": "scan"},
    "albert": {"family": "albert", "embedding_size": 8, "sharing": "all"},
    "deberta": {"positions": "disentangled", "pooler": "none", "type_vocab_size": 0, "relative": {"span": 6}},
    "modern": {
        "positions": "rotary", "mlp": "geglu", "biases": False, "norm": {"place": "before", "bias": False},
        "pattern": ("global", "local"), "window": 4, "pooler": "none", "type_vocab_size": 0,
    },
}  # fmt: skip


def exchanged(model, parallel, **groups):
    """A counter of (collective, devices that take part, shape of an array) in a step on 8 devices; and the trainer."""
    raw = {
        "tokenizer": {"vocab_size": 96},
        "data": {"sequence_length": LENGTH, "sentence_objective": "none", "format": "full_sentences"},
        "model": {**MODEL, "pooler": "none", **MODELS[model]},
        "train": {"batch_size": ROWS},
        "parallel": parallel,
        **groups,
    }
    config = configs.resolve(raw)
    trainer = Trainer.of(task_of(config), config)
    [phase] = trainer.task.phases
    found = collections.Counter()
    for line in count(parse(trainer.compile_abstract(phase, ROWS).as_text())):
        if line.collective:
            for array in arrays(line.instruction.shape):
                found[line.collective, len(line.group), array.dims] += line.trips
    return found, trainer


def parameter_shapes(trainer):
    """Of whole parameters and of the parts that "tensor" cuts them into, and of queries, keys and values together."""
    parts = trainer.config.parallel.tensor
    shapes = {()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trainer.abstract_state().params):
        cut = [
            (*leaf.shape[:axis], size // parts, *leaf.shape[axis + 1 :])
            for axis, size in enumerate(leaf.shape)
        ]
        shapes |= {leaf.shape, *cut}
        if "/query/" in path_name(path):
            shapes |= {(3, *shape) for shape in (leaf.shape, *cut)}
    return {in_order(shape) for shape in shapes}


def in_order(shape):
    """The sizes in order, without those of 1: XLA transposes as it likes."""
    return tuple(sorted(size for size in shape if size != 1))


@pytest.mark.parametrize("parallel", [{"fsdp": 4}, {"fsdp": 2, "tensor": 2}], ids=["fsdp", "fsdp-tensor"])
@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=pytest.mark.slow) if name != "bert" else name for name in MODELS],
)
def test_parameters_are_gathered_and_activations_are_not(model, parallel):
    found, trainer = exchanged(model, parallel)
    gathered = {dims for kind, _, dims in found if kind == "all-gather"}
    assert gathered
    assert {in_order(dims) for dims in gathered} <= parameter_shapes(trainer)
    assert not {kind for kind, _, _ in found} - {"all-gather", "all-reduce", "reduce-scatter"}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lamb", "muon"])
def test_no_optimizer_moves_activations(optimizer):
    found, trainer = exchanged("bert", {"fsdp": 4}, optim={"name": optimizer})
    rows = ROWS // trainer.plan.parts
    assert not [dims for _, _, dims in found if {ROWS, rows} & set(dims) and LENGTH in dims]


def test_over_data_gradients_alone_are_summed():
    found, trainer = exchanged("bert", {})
    assert {(kind, devices) for kind, devices, _ in found} == {("all-reduce", 8)}
    assert {in_order(dims) for _, _, dims in found} <= parameter_shapes(trainer)


def test_over_tensor_a_layer_sums_activations_twice_in_each_direction():
    found, _ = exchanged("bert", {"tensor": 4})
    activation = (ROWS // 2, LENGTH, 32)
    sums = sum(times for (kind, devices, dims), times in found.items() if devices == 4 and dims == activation)
    assert {kind for kind, _, _ in found} == {"all-reduce"}
    assert sums == 2 * (2 + 2)


@pytest.mark.slow
def test_a_sharded_optimizer_takes_a_part_of_the_memory_and_gathers_parameters_alone():
    def argument_bytes(**parallel):
        _, trainer = exchanged("bert", parallel)
        [phase] = trainer.task.phases
        return trainer.compile_abstract(phase, ROWS).memory_analysis().argument_size_in_bytes

    found, trainer = exchanged("bert", {"shard_optimizer": True})
    assert {in_order(dims) for kind, _, dims in found if kind == "all-gather"} <= parameter_shapes(trainer)
    assert not {kind for kind, _, _ in found} - {"all-gather", "all-reduce", "reduce-scatter"}
    # Parameters and two moments: of three parts, two are split eight ways.
    assert argument_bytes(shard_optimizer=True) == pytest.approx(argument_bytes() * (1 + 2 / 8) / 3, rel=0.05)
