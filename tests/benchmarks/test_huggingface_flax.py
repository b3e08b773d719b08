"""The Flax baseline of `bench --what compile`: what it lacks, what it needs, and that it does the work that it is said to do."""

import importlib.metadata
import json

import jax
import jax.numpy as jnp
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks import compile as compiling
from bert_jax.benchmarks import huggingface_flax
from bert_jax.compilers.cost import count, totals
from bert_jax.compilers.hlo import parse
from bert_jax.errors import ConfigError, UserError
from bert_jax.models.flops import training_flops
from bert_jax.tasks.choose import task_of


def config_of(preset="bert-tiny", *, model=(), **groups):
    data = {"sentence_objective": "none", "sequence_length": 32} | groups.pop("data", {})
    raw = {
        "model": {"preset": preset, **dict(model)},
        "tokenizer": {"vocab_size": 600},
        "data": data,
        **groups,
    }
    return configs.resolve(raw)


@pytest.fixture
def installed(monkeypatch):
    """Sets the version of transformers that is installed; None: it is not."""

    def install(version):
        def answer(name):
            assert name == "transformers"
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", answer)

    return install


@pytest.mark.parametrize("version", ["4.57.6", None])
@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (config_of("roberta-base"), "config.model.family='roberta' must be 'bert'"),
        (config_of("mosaicbert-base"), "is BERT alone: .*model.mlp='geglu'"),
        (config_of(objective={"name": "rtd"}), "config.objective.name='rtd' must be 'mlm'"),
        (config_of(data={"packing": 2}), "config.data.packing=2 must be 1"),
        (config_of(train={"accumulate": 2}), "config.train.accumulate=2 must be 1"),
    ],
)
def test_what_the_step_lacks_is_said_whatever_is_installed(config, fault, version, installed):
    installed(version)
    with pytest.raises(ConfigError, match=fault) as error:
        huggingface_flax.check(config)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("version", "said"), [("5.23.0", "5.23.0"), (None, "none")])
def test_a_transformers_without_flax_is_named(version, said, installed):
    installed(version)
    with pytest.raises(UserError, match=rf"installed: {said} \(pip install 'transformers<5'"):
        huggingface_flax.check(config_of())
    installed("4.46.3")
    huggingface_flax.check(config_of())


def test_all_positions_go_through_its_head_and_rows_are_split():
    version = huggingface_flax.installed_version()
    if not huggingface_flax.has_flax(version):
        pytest.skip(f"transformers 4 is the last with Flax models; installed: {version}")
    config = config_of(train={"batch_size": 16})
    with jax.numpy_rank_promotion("allow"):  # its code adds biases so
        text = huggingface_flax.compile_step(config, jax.devices()[:4]).as_text()
    sums = totals(count(parse(text)))
    row = training_flops(config.model, length=32, slots=32, heads=("mlm",))
    assert sums["matrix_flops"] == pytest.approx(4 * row, rel=0.01)
    # Of four chips each sends 2 x 3 / 4 of the gradients, and those of the token table once more for its use in the head.
    params = jax.eval_shape(task_of(config).init, jax.random.key(0))
    del params["pair_head"], params["bert"]["pooler"]  # it has none
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params)) + 600 * config.model.hidden_size
    assert sums["collective_bytes"] == pytest.approx(2 * 3 / 4 * 4 * numbers, rel=1e-4)


def test_both_steps_are_counted_and_their_bounds_compared(in_place, monkeypatch, capsys):
    """With another program in place of the baseline's, and the CPU's compiler."""
    size = 64
    square = jax.ShapeDtypeStruct((size, size), jnp.float32)

    def compile_step(config, devices):
        return jax.jit(lambda x: x @ x).lower(square).compile()

    monkeypatch.setattr(huggingface_flax, "check", lambda config: None)
    monkeypatch.setattr(huggingface_flax, "compile_step", compile_step)
    values = compiling.measure(
        config_of(model={"num_layers": 1}, train={"batch_size": 4}), target="h100:1", baseline="hf-flax"
    )
    peer = values["peer"]
    assert (peer["flops"], peer["batch"]) == (2 * size**3, values["batch"])
    assert values["bound_ratio"] == pytest.approx(peer["bound_ms"] / values["bound_ms"])
    assert json.loads(json.dumps(values)) == values
    shown = capsys.readouterr().out
    assert "A step beside that of hf-flax" in shown
    assert "524.3 k" in shown
