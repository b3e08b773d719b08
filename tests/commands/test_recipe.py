"""ModernBERT's recipe at a tiny size: three phases, as one run that resumes anywhere."""

import pytest

from bert_jax import config as configs
from bert_jax.commands import pretrain
from bert_jax.data.batches.pipeline import Batches
from bert_jax.tasks.load import load_workdir
from tests.commands.test_pretrain import NO_DROPOUT, changed
from tests.runs import assert_same_run, lines, on, stopped

MODEL = NO_DROPOUT | {
    "num_layers": 4, "type_vocab_size": 0, "pooler": "none", "positions": "rotary", "mlp": "geglu", "biases": False,
    "norm": {"place": "before", "bias": False, "first": False}, "pattern": ("global", "local", "local"),
    "window": 4, "initializer": "megatron",
}  # fmt: skip
PHASES = (
    {"share": 0.4, "sequence_length": 16, "masking_rate": 0.3, "schedule": "constant"},
    {"share": 0.3, "batch_size": 8, "masking_rate": 0.3, "learning_rate": 5e-4, "rotary_base": 160_000.0},
    {
        "share": 0.3, "batch_size": 8, "masking_rate": 0.15, "schedule": "wsd", "decay_share": 1.0,
        "decay_curve": "sqrt", "floor": 0.1, "rotary_base": 160_000.0,
    },
)  # fmt: skip


def recipe_of(prepared):
    config = changed(
        prepared,
        model=MODEL,
        data={"sentence_objective": "none"},
        checkpoint={"every": 4, "keep": 10},
        train={"steps": 10, "batch_size": 16, "log_every": 1, "eval_every": 5, "eval_batches": 1},
        optim={
            "name": "muon", "learning_rate": 1e-3, "warmup_steps": 2, "weight_decay_by": "schedule",
            "weight_decay": 1e-3,
        },
    )  # fmt: skip
    return configs.resolve(configs.to_dict(config) | {"phases": PHASES})


@pytest.mark.slow
@pytest.mark.parametrize("devices", [8, 2])
def test_stopped_in_each_of_three_phases_it_resumes_to_the_same_run(devices, prepared, tmp_path):
    recipe = recipe_of(prepared)
    with on(devices):
        pretrain.run(recipe, tmp_path / "straight")
        for step in (2, 6, 9):
            with stopped(Batches, step):
                pretrain.run(recipe, tmp_path / "run")
        pretrain.run(recipe, tmp_path / "run")
    rates = [line["learning_rate"] for line in lines(tmp_path / "straight") if line["split"] == "train"]
    decay = [0.1 + 0.9 * (1 - (step / 3) ** 0.5) for step in range(3)]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, *[5e-4] * 3, *(5e-4 * d for d in decay)])
    assert_same_run(tmp_path / "run", tmp_path / "straight")
    bases = [load_workdir(tmp_path / "run", checkpoint=step)[0].rotary.base for step in ("last", "4")]
    assert bases == [160_000.0, 10_000.0]  # each as it was last trained
