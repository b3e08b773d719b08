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
    """Of whole parameters and of the parts that "tensor" cuts them into, without axes of size 1."""
    parts = trainer.config.parallel.tensor
    shapes = {()}
    for leaf in jax.tree.leaves(trainer.abstract_state().params):
        shapes.add(leaf.shape)
        shapes |= {
            (*leaf.shape[:axis], size // parts, *leaf.shape[axis + 1 :])
            for axis, size in enumerate(leaf.shape)
        }
    return {squeezed(shape) for shape in shapes}


def squeezed(shape):
    return tuple(size for size in shape if size != 1)


@pytest.mark.parametrize("parallel", [{"fsdp": 4}, {"fsdp": 2, "tensor": 2}], ids=["fsdp", "fsdp-tensor"])
@pytest.mark.parametrize("model", MODELS)
def test_parameters_are_gathered_and_activations_are_not(model, parallel):
    found, trainer = exchanged(model, parallel)
    gathered = {dims for kind, _, dims in found if kind == "all-gather"}
    assert gathered
    assert {squeezed(dims) for dims in gathered} <= parameter_shapes(trainer)
    assert not {kind for kind, _, _ in found} - {"all-gather", "all-reduce", "reduce-scatter"}


@pytest.mark.parametrize("optimizer", ["lamb", "muon"])
def test_no_optimizer_moves_activations(optimizer):
    found, trainer = exchanged("bert", {"fsdp": 4}, optim={"name": optimizer})
    rows = ROWS // trainer.plan.parts
    assert not [dims for _, _, dims in found if {ROWS, rows} & set(dims) and LENGTH in dims]


def test_over_data_gradients_alone_are_summed():
    found, trainer = exchanged("bert", {})
    assert {(kind, devices) for kind, devices, _ in found} == {("all-reduce", 8)}
    assert {squeezed(dims) for _, _, dims in found} <= parameter_shapes(trainer)


def test_over_tensor_a_layer_sums_activations_twice_in_each_direction():
    found, _ = exchanged("bert", {"tensor": 4})
    activation = (ROWS // 2, LENGTH, 32)
    sums = sum(times for (kind, devices, dims), times in found.items() if devices == 4 and dims == activation)
    assert {kind for kind, _, _ in found} == {"all-reduce"}
    assert sums == 2 * (2 + 2)
