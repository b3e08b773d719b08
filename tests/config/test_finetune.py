"""The configuration of fine-tuning: its rules, and what follows from the data."""

import pytest

from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.config.finetune import frozen_patterns, settled, tuned_model
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import Bounds, walk
from bert_jax.errors import ConfigError


def config_of(**values):
    raw = configs.base(FinetuneConfig).to_dict()
    raw["task"] |= {"train": "train.tsv", "eval": "dev.tsv"}
    return configs.resolve(
        configs.with_values(raw, {name.replace("__", "."): value for name, value in values.items()}),
        FinetuneConfig,
    )


def faults(**values):
    with pytest.raises(ConfigError) as caught:
        config_of(**values)
    return caught.value.faults


# One case a rule: what is set -> words of the one fault it must give.
RULES = [
    ({"task__train": ""}, "config.task.train='' must name"),
    ({"task__eval": "", "task__max_eval_examples": 5}, "max_eval_examples=5 must go with config.task.eval"),
    ({"task__eval": "", "train__patience": 2}, "train.patience=2 must go with config.task.eval"),
    ({"task__text_pair": "b", "task__pairs": "no"}, "text_pair='b' must go with config.task.pairs"),
    ({"task__labels": ("a", "b", "a")}, "must name each class once"),
    ({"task__labels": ("a", "b"), "task__kind": "regression"}, "must go with config.task.kind"),
    ({"task__labels": ("a",)}, "must be two classes or more"),
    ({"train__steps": 10, "optim__warmup_steps": 10}, "warmup_steps=10 must be < config.train.steps=10"),
    ({"tuning__unfreeze_steps": 5, "tuning__unfreeze_epochs": 1.0}, "must not both be set"),
    ({"tuning__frozen": "encoder", "phases": ({"share": 1.0},)}, "config.phases must be empty"),
    ({"phases": ({"share": 1.0, "sequence_length": 64},)}, "phases[0].sequence_length=64 must be None"),
    ({"phases": ({"share": 0.5},), "train__steps": 10}, "the shares 0.5 = 0.5 must be 1"),
    ({"optim__rates": ("layer_0/",)}, "must be PATTERN=RATE"),
    ({"train__accumulate": 3}, "batch_size=32 must be a multiple of config.train.accumulate=3"),
    *[
        ({"task__kind": "similarity", **values}, words)
        for values, words in [
            ({"task__loss": "cosent", "parallel__mode": "pmap"}, "mode='pmap' must be 'jit' for config.task.loss='cosent'"),
            ({"task__loss": "contrastive", "parallel__mode": "pmap"}, "must be 'jit' for config.task.loss='contrastive'"),
            ({"task__loss": "cosent", "train__accumulate": 2}, "accumulate=2 must be 1 for config.task.loss='cosent'"),
            ({"task__loss": "cosent", "task__label_low": 0.0}, "label_low=0.0 must go with config.task.loss='cosine'"),
            ({"task__label_low": 5.0, "task__label_high": 5.0}, "label_low=5.0 must be < config.task.label_high=5.0"),
            ({"task__min_label": 4.0}, "min_label=4.0 must go with config.task.loss='contrastive'"),
            ({"task__scale": 10.0}, "scale=10.0 must go with config.task.loss='cosent' or 'contrastive'"),
            ({"model__head_dropout_rate": 0.0}, "head_dropout_rate=0.0 must go with config.task.kind"),
            ({"tuning__head": "fresh"}, "tuning.head='fresh' must go with config.task.kind"),
            ({"tuning__frozen": "encoder"}, "whose head has nothing to train"),
            ({"tuning__unfreeze_steps": 5}, "whose head has nothing to train"),
        ]
    ],
    (
        {"task__pooling": "cls", "task__kind": "tagging"},
        "pooling='cls' must go with config.task.kind='classification' or 'multilabel' or 'regression' or 'similarity'",
    ),
    ({"task__label_high": 5.0}, "label_high=5.0 must go with config.task.kind='similarity'"),
    ({"task__loss": "cosent"}, "loss='cosent' must go with config.task.kind='similarity'"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "words"), RULES, ids=[words for _, words in RULES])
def test_a_broken_rule_is_the_only_fault(values, words):
    [fault] = faults(**values)
    assert words in fault


@pytest.mark.parametrize(
    ("key", "value", "bounds"),
    [
        ("task.max_train_examples", -1, ">= 0"),
        ("task.max_length", 7, ">= 8"),
        ("train.epochs", 0.0, "> 0"),
        ("train.steps", -1, ">= 0"),
        ("tuning.reinitialize", -1, ">= 0"),
        ("optim.warmup_share", 1.0, "in [0, 1)"),
        ("model.head_dropout_rate", 1.0, "in [0, 1)"),
    ],
)
def test_a_value_out_of_its_range_is_refused(key, value, bounds):
    assert faults(**{key.replace(".", "__"): value}) == (f"config.{key}={value} must be {bounds}",)


def test_the_cosine_loss_may_be_accumulated_and_run_by_pmap():
    config = config_of(task__kind="similarity", train__accumulate=2, parallel__mode="pmap")
    assert (config.task.loss, config.train.accumulate, config.parallel.mode) == ("cosine", 2, "pmap")


def test_every_option_of_fine_tuning_has_a_meaning():
    for key, _, field in walk(FinetuneConfig()):
        assert len(field.metadata["doc"]) > 10, key
        assert isinstance(field.metadata["bounds"], Bounds), key


def test_an_unknown_key_names_those_of_fine_tuning():
    [fault] = faults(task__labell="x")
    assert "config.task.labell is unknown: did you mean config.task.label?" in fault


def test_numbers_follow_from_the_data():
    whole = settled(config_of(), examples=1000, layers=12)
    assert (whole.train.steps, whole.train.eval_every, whole.checkpoint.every) == (94, 32, 32)
    assert whole.optim.warmup_steps == 9
    assert settled(whole, examples=1000, layers=12) == whole


def test_given_numbers_stay():
    whole = settled(
        config_of(train__steps=50, train__eval_every=20, optim__warmup_steps=3, checkpoint__every=10),
        examples=1000,
        layers=12,
    )
    assert (whole.train.steps, whole.train.eval_every, whole.checkpoint.every) == (50, 20, 10)
    assert whole.optim.warmup_steps == 3


def test_a_run_of_one_step_has_no_warmup():
    whole = settled(config_of(train__steps=1, optim__warmup_steps=0), examples=5, layers=2)
    assert (whole.optim.warmup_steps, whole.train.eval_every) == (0, 1)


def test_warmup_leaves_the_decay_of_wsd_its_steps():
    options = {"optim__warmup_share": 0.5, "optim__schedule": "wsd", "optim__decay_share": 0.7}
    whole = settled(config_of(train__steps=10, **options), examples=1000, layers=2)
    assert whole.optim.warmup_steps == 3
    assert configs.resolve(configs.to_dict(whole), FinetuneConfig) == whole


@pytest.mark.parametrize(
    ("frozen", "patterns"),
    [("none", ()), ("embeddings", frozen_patterns(1)), ("encoder", frozen_patterns(13))],
)
def test_what_is_frozen_for_good_is_one_phase(frozen, patterns):
    whole = settled(config_of(tuning__frozen=frozen), examples=1000, layers=12)
    assert [phase.frozen for phase in whole.phases] == ([patterns] if patterns else [])


def test_unfreezing_stops_where_the_run_ends_and_at_what_stays_frozen():
    short = settled(config_of(tuning__unfreeze_steps=40), examples=1000, layers=12)
    assert [round(phase.share * 94) for phase in short.phases] == [40, 40, 14]
    kept = settled(
        config_of(tuning__unfreeze_steps=10, tuning__frozen="embeddings", train__steps=100),
        examples=1000,
        layers=2,
    )
    assert [phase.frozen for phase in kept.phases] == [frozen_patterns(depth) for depth in (3, 2, 1)]
    assert [round(phase.share * 100) for phase in kept.phases] == [10, 10, 80]


def test_the_model_is_run_as_the_configuration_says():
    model = tuned_model(
        config_of(model__dtype="bfloat16", model__dropout_rate=0.2), ModelConfig(remat="full")
    )
    assert (model.dtype, model.dropout_rate, model.attention_dropout_rate, model.remat) == (
        "bfloat16",
        0.2,
        0.1,
        "none",
    )
