"""The configuration: every rule trips, every fault is named, and nothing passes through unread."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import (
    MaskingConfig,
    OptimConfig,
    PretrainConfig,
    base,
    describe,
    differences,
    known_keys,
    load,
    resolve,
    to_dict,
    validate,
)
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import Bounds, walk
from bert_jax.config.presets import PRESETS
from bert_jax.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[2]


def resolved(**changes) -> PretrainConfig:
    """`resolved(data__path="x")` is the configuration that sets config.data.path alone."""
    raw = base().to_dict()
    for name, value in changes.items():
        *groups, field = name.split("__")
        functools.reduce(dict.__getitem__, groups, raw)[field] = value
    return resolve(raw)


def faults(**changes) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        resolved(**changes)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def experiment(folder: Path, body: str, *, head: str = "from bert_jax.config import base\n") -> str:
    """An experiment file whose get_config() is `body`."""
    file = folder / "experiment.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    file.write_text(f"{head}\n\ndef get_config():\n    config = base()\n{lines}    return config\n")
    return str(file)


# ---------------------------------------------------------------------------------------------
# Rules
# ---------------------------------------------------------------------------------------------

# One case a rule: what is set -> the one fault it must give.
_ONE_FIELD = [
    # > 0
    ("masking.max_predictions", -1, "> 0"),
    ("model.hidden_size", -12, "> 0"),
    ("model.num_layers", 0, "> 0"),
    ("model.num_heads", 0, "> 0"),
    ("model.mlp_size", 0, "> 0"),
    ("model.norm.eps", 0.0, "> 0"),
    ("model.window", 0, "> 0"),
    ("model.initializer_range", 0.0, "> 0"),
    ("optim.learning_rate", 0.0, "> 0"),
    ("optim.eps", 0.0, "> 0"),
    ("optim.power", 0.0, "> 0"),
    ("parallel.fsdp", 0, "> 0"),
    ("parallel.tensor", 0, "> 0"),
    ("parallel.timeout", 0.0, "> 0"),
    ("train.ema", 1.0, "in [0, 1)"),
    ("train.ema", -0.5, "in [0, 1)"),
    ("train.accumulate", 0, "> 0"),
    ("train.batch_size", 0, "> 0"),
    ("train.log_every", 0, "> 0"),
    ("train.eval_every", 0, "> 0"),
    ("checkpoint.every", 0, "> 0"),
    ("checkpoint.keep", 0, "> 0"),
    ("tokenizer.vocab_size", 0, "> 0"),
    ("tokenizer.training_words", 0, "> 0"),
    ("data.packing", 0, "> 0"),
    ("masking.max_ngram", 0, "> 0"),
    ("masking.max_span", 0, "> 0"),
    ("masking.copies", 0, "> 0"),
    ("objective.z_loss", -1e-4, ">= 0"),
    ("objective.rtd_weight", 0.0, "> 0"),
    ("objective.temperature", -1.0, "> 0"),
    # >= 0
    ("seed", -1, "in [0, 2147483648)"),
    ("model.embedding_size", -1, ">= 0"),
    ("model.position_offset", -1, ">= 0"),
    ("model.type_vocab_size", -1, ">= 0"),
    ("optim.warmup_steps", -1, ">= 0"),
    ("optim.weight_decay", -0.01, ">= 0"),
    ("optim.clip_norm", -1.0, ">= 0"),
    ("optim.skip_norm", -1.0, ">= 0"),
    ("train.eval_batches", -1, ">= 0"),
    ("train.patience", -1, ">= 0"),
    ("cleaning.min_characters", -1, ">= 0"),
    ("cleaning.boilerplate_documents", -1, ">= 0"),
    # in [0, 1)
    ("data.eval_fraction", 1.0, "in [0, 1)"),
    ("data.eval_fraction", -0.1, "in [0, 1)"),
    ("model.dropout_rate", 1.0, "in [0, 1)"),
    ("model.attention_dropout_rate", 1.0, "in [0, 1)"),
    ("optim.b1", 1.0, "in [0, 1)"),
    ("optim.b2", 1.0, "in [0, 1)"),
    ("optim.floor", 1.0, "in [0, 1)"),
    ("optim.floor", -0.1, "in [0, 1)"),
    # in [0, 1]
    ("data.short_sequence_probability", 1.5, "in [0, 1]"),
    ("data.short_sequence_probability", -0.5, "in [0, 1]"),
    # in (0, 1]
    ("objective.generator_width", 0.0, "in (0, 1]"),
    ("objective.generator_width", 1.5, "in (0, 1]"),
    ("objective.generator_depth", -0.5, "in (0, 1]"),
    ("objective.generator_depth", 2.0, "in (0, 1]"),
    ("optim.layer_decay", 0.0, "in (0, 1]"),
    ("optim.layer_decay", 1.1, "in (0, 1]"),
    ("optim.decay_share", 0.0, "in (0, 1]"),
    ("optim.decay_share", 1.1, "in (0, 1]"),
    # in (0, 1)
    ("masking.rate", 1.0, "in (0, 1)"),
    ("masking.rarity", -0.1, "in [0, 2]"),
    ("masking.rarity", 2.1, "in [0, 2]"),
    ("masking.span_p", 0.0, "in (0, 1)"),
    ("masking.span_p", 1.0, "in (0, 1)"),
    # rules of their own
    ("data.sequence_length", 7, ">= 8"),
    ("parallel.data", 0, "> 0, or -1 for the devices that are left"),
    ("parallel.data", -2, "> 0, or -1 for the devices that are left"),
]


RTD = {"objective__name": "rtd", "data__sentence_objective": "none"}


@pytest.mark.parametrize(("key", "value", "rule"), _ONE_FIELD, ids=lambda v: str(v))
def test_a_field_out_of_its_range_is_the_only_fault(key, value, rule):
    changes = {key.replace(".", "__"): value}
    if key == "model.window":
        changes |= {"model__pattern": ("global", "local")}
    if key.startswith("objective."):  # with "mlm" they do nothing, which is a fault as well
        changes |= RTD
    if key in ("optim.decay_share", "optim.power"):  # nor do these with "linear"
        changes["optim__schedule"] = "wsd" if key == "optim.decay_share" else "polynomial"
    assert faults(**changes) == (f"config.{key}={value} must be {rule}",)


_SEVERAL_FIELDS = [
    (
        {"masking__mask": 0.7},
        "config.masking.mask=0.7 + random=0.1 + keep=0.1 = 0.9 must be 1",
    ),
    (
        {"masking__max_predictions": 129},
        "config.masking.max_predictions=129 must be <= config.data.sequence_length=128",
    ),
    *(
        (
            {"masking__rarity": 0.7, "masking__unit": unit},
            "config.masking.rarity=0.7 must go with config.masking.unit='token', or it does nothing",
        )
        for unit in ("whole_word", "ngram", "span")
    ),
    (
        {"data__sequence_length": 513},
        "config.data.sequence_length=513 must be <= config.model.max_positions=512",
    ),
    ({"seed": 2**31}, "config.seed=2147483648 must be in [0, 2147483648)"),
    ({"data__path": ""}, "config.data.path='' must name a source"),
    ({"data__path": " , "}, "config.data.path=' , ' must name a source"),
    (
        {"data__path": "a.txt, b.txt", "data__weights": (1.0,)},
        "config.data.weights=(1.0,) must be one for each of the 2 entries of config.data.path='a.txt, b.txt'",
    ),
    ({"data__weights": (0.0,)}, "config.data.weights=(0.0,) must all be > 0"),
    ({"data__weights": [-1]}, "config.data.weights=(-1.0,) must all be > 0"),
    (
        {"data__boundaries": "whole", "data__format": "sentence_pair"},
        "config.data.boundaries='whole' must go with config.data.format='segment_pair', not 'sentence_pair'",
    ),
    (
        {"data__quirks": ["lone_is_random"], "data__sentence_objective": "none"},
        "config.data.quirks=('lone_is_random',): 'lone_is_random' must go with config.data.sentence_objective"
        " nsp or sop, or it does nothing",
    ),
    (
        {"data__quirks": ["ten_draws"], "data__sentence_objective": "sop"},
        "config.data.quirks=('ten_draws',): 'ten_draws' must go with config.data.sentence_objective='nsp' or the"
        " quirk 'lone_is_random', or it does nothing",
    ),
    (
        {"data__quirks": ["short_per_document"], "data__format": "sentence_pair"},
        "config.data.quirks=('short_per_document',): 'short_per_document' must go with a config.data.format other"
        " than 'sentence_pair', or it does nothing",
    ),
    ({"phases": ({"share": 0.5}, {"share": 0.6})}, "config.phases: the shares 0.5 + 0.6 = 1.1 must be 1"),
    (
        {"phases": ({"share": 0.9}, {"share": 0.1}), "train__steps": 4, "optim__warmup_steps": 0},
        "config.phases[1].share=0.1 must be a step or more of config.train.steps=4",
    ),
    (
        {"phases": ({"share": 0.5, "sequence_length": 7}, {"share": 0.5})},
        "config.phases[0].sequence_length=7 must be >= 8",
    ),
    (
        {"phases": ({"share": 0.5, "sequence_length": 513}, {"share": 0.5})},
        "config.phases[0]: config.data.sequence_length=513 must be <= config.model.max_positions=512",
    ),
    (
        {"phases": ({"share": 0.5}, {"share": 0.5, "batch_size": 9}), "train__accumulate": 2},
        "config.phases[1]: config.train.batch_size=9 must be a multiple of config.train.accumulate=2",
    ),
    (
        {
            "phases": ({"share": 0.5}, {"share": 0.5, "learning_rate": 1e-5, "warmup_steps": 50}),
            "train__steps": 100,
            "optim__warmup_steps": 0,
        },
        "config.phases[1].warmup_steps=50 must be < the steps of its piece of the schedule=50",
    ),
    (
        {"train__steps": 100, "optim__warmup_steps": 81, "optim__schedule": "wsd", "optim__decay_share": 0.2},
        "config.optim.warmup_steps=81 must be <= config.train.steps=100 less the 20 of decay_share=0.2",
    ),
    (
        {
            "phases": (
                {"share": 0.5},
                {"share": 0.5, "schedule": "wsd", "decay_share": 1.0, "warmup_steps": 1},
            ),
            "train__steps": 100,
            "optim__warmup_steps": 0,
        },
        "config.phases[1].warmup_steps=1 must be <= the steps of its piece of the schedule=50 less the 50 of decay_share=1",
    ),
    (
        {"phases": ({"share": 0.5}, {"share": 0.5, "decay_share": 0.5})},
        "config.phases[1].decay_share=0.5 must go with the schedule 'wsd', not 'linear', or it does nothing",
    ),
    (
        {"phases": ({"share": 0.5, "schedule": "inverse_sqrt"}, {"share": 0.5, "floor": 0.1})},
        "config.phases[1].floor=0.1 must go with the schedule 'linear' or 'cosine' or 'polynomial' or 'wsd', not"
        " 'inverse_sqrt', or it does nothing",
    ),
    (
        {"optim__power": 3.0},
        "config.optim.power=3.0 must go with config.optim.schedule='polynomial', or it does nothing",
    ),
    (
        {"optim__schedule": "constant", "optim__floor": 0.1},
        "config.optim.floor=0.1 must go with config.optim.schedule='linear' or 'cosine' or 'polynomial' or 'wsd', or it"
        " does nothing",
    ),
    (
        {"optim__decay_curve": "sqrt"},
        "config.optim.decay_curve='sqrt' must go with config.optim.schedule='wsd', or it does nothing",
    ),
    (
        {"optim__name": "lion", "optim__eps": 1e-8},
        "config.optim.eps=1e-08 must go with config.optim.name='adamw' or 'bert_adam' or 'lamb' or 'stable_adamw' or"
        " 'muon', or it does nothing",
    ),
    (
        {"optim__name": "lamb", "optim__weight_decay_by": "schedule"},
        "config.optim.weight_decay_by='schedule' must go with config.optim.name='adamw' or 'bert_adam' or 'stable_adamw'"
        " or 'adafactor' or 'lion' or 'muon', or it does nothing",
    ),
    (
        {"optim__weight_decay": 0.0, "optim__weight_decay_by": "schedule"},
        "config.optim.weight_decay_by='schedule' must go with config.optim.weight_decay > 0, or it does nothing",
    ),
    (
        {"optim__skip_norm": 0.5},
        "config.optim.skip_norm=0.5 must be above config.optim.clip_norm=1, or nothing is left to clip",
    ),
    (
        {"phases": ({"share": 1.0, "frozen": ("(",)},)},
        "config.phases[0].frozen='(' must be a regular expression: missing ), unterminated subpattern at position 0",
    ),
    (
        {"data__format": "full_sentences"},
        "config.data.format='full_sentences' must be one of segment_pair, sentence_pair for"
        " config.data.sentence_objective='nsp'",
    ),
    (
        {"data__format": "doc_sentences", "data__sentence_objective": "sop"},
        "config.data.format='doc_sentences' must be one of segment_pair, sentence_pair for"
        " config.data.sentence_objective='sop'",
    ),
    (
        {"parallel__fsdp": 3, "model__embedding_size": 128},
        "config.model.embedding_size=128 must be a multiple of config.parallel.fsdp=3",
    ),
    (
        {"model__vocab_size": 100},
        "config.model.vocab_size=100 must equal config.tokenizer.vocab_size=30522",
    ),
    *(
        (
            {f"objective__{field}": value},
            f"config.objective.{field}={value!r} must go with config.objective.name='rtd', or it does nothing",
        )
        for field, value in {
            "rtd_weight": 1.0,
            "generator_width": 0.5,
            "generator_depth": 0.5,
            "embedding_sharing": "none",
            "temperature": 2.0,
        }.items()
    ),
    (
        {"objective__name": "rtd"},
        "config.data.sentence_objective='nsp' must be 'none' for config.objective.name='rtd'",
    ),
    (
        RTD | {"model__preset": "deberta-v3-base", "model__vocab_size": 30522},
        "config.objective.generator_width=0.25 must leave the generator config.model.hidden_size=768 (leaves 192)"
        " for config.model.positions='disentangled' with config.objective.embedding_sharing='shared': set 1, or"
        " 'none'",
    ),
    (
        RTD | {"model__sharing": "all", "model__groups": 4, "objective__generator_depth": 0.5},
        "config.objective.generator_depth=0.5 leaves the generator 6 layers, which must be a multiple of"
        " config.model.groups=4",
    ),
    (
        RTD | {"parallel__fsdp": 256},
        "config.objective.generator_width=0.25 leaves the generator hidden size 192, which must be a multiple of"
        " config.parallel.fsdp=256",
    ),
    (
        RTD | {"parallel__tensor": 2},
        "config.objective.generator_width=0.25 leaves the generator heads 3, which must be a multiple of"
        " config.parallel.tensor=2",
    ),
    (
        RTD | {"parallel__tensor": 3, "model__mlp_size": 3},
        "config.objective.generator_width=0.25 leaves the generator MLP width 1, which must be a multiple of"
        " config.parallel.tensor=3",
    ),
    ({"train__steps": 10_000}, "config.optim.warmup_steps=10000 must be < config.train.steps=10000"),
    (
        {"train__accumulate": 3},
        "config.train.batch_size=256 must be a multiple of config.train.accumulate=3",
    ),
    (
        {"parallel__mode": "pmap", "parallel__fsdp": 2},
        "config.parallel.mode='pmap' must have config.parallel.fsdp=1 and config.parallel.tensor=1"
        " (are 2 and 1): pmap is data parallelism only",
    ),
    (
        {"parallel__mode": "pmap", "parallel__tensor": 2},
        "config.parallel.mode='pmap' must have config.parallel.fsdp=1 and config.parallel.tensor=1"
        " (are 1 and 2): pmap is data parallelism only",
    ),
    ({"parallel__fsdp": 5}, "config.model.hidden_size=768 must be a multiple of config.parallel.fsdp=5"),
    ({"parallel__tensor": 8}, "config.model.num_heads=12 must be a multiple of config.parallel.tensor=8"),
    (
        {"parallel__tensor": 3, "model__mlp_size": 3071},
        "config.model.mlp_size=3071 must be a multiple of config.parallel.tensor=3",
    ),
]


@pytest.mark.parametrize(("changes", "fault"), _SEVERAL_FIELDS, ids=lambda v: str(v)[:60])
def test_a_rule_over_several_fields_names_all_their_values(changes, fault):
    assert faults(**changes) == (fault,)


# Some ranges cannot be broken alone: a row of no token is also shorter than 8.
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"data__sequence_length": 0}, "config.data.sequence_length=0 must be >= 8"),
        ({"model__max_positions": 0}, "config.model.max_positions=0 must be > 0"),
        ({"model__relative__span": 0}, "config.model.relative.span=0 must be > 0"),
        ({"model__rotary__base": 1.0}, "config.model.rotary.base=1.0 must be > 1"),
        ({"model__rotary__local_base": 0.5}, "config.model.rotary.local_base=0.5 must be > 1"),
        ({"model__relative__buckets": -2}, "config.model.relative.buckets=-2 must be >= 0"),
        ({"model__relative__convolution": -1}, "config.model.relative.convolution=-1 must be >= 0"),
        ({"model__groups": 0}, "config.model.groups=0 must be > 0"),
        ({"train__steps": 0}, "config.train.steps=0 must be > 0"),
        ({"masking__mask": 1.1}, "config.masking.mask=1.1 must be in [0, 1]"),
        ({"masking__random": -0.1}, "config.masking.random=-0.1 must be in [0, 1]"),
        ({"masking__keep": 1.1}, "config.masking.keep=1.1 must be in [0, 1]"),
        ({"masking__rate": 0.0}, "config.masking.rate=0.0 must be in (0, 1)"),
    ],
)
def test_a_range_that_another_rule_needs_too_is_still_named(changes, fault):
    assert fault in faults(**changes)


def test_a_configuration_written_before_an_option_came_has_its_default():
    raw = to_dict(resolved())
    del raw["masking"]["rarity"]
    assert resolve(raw) == resolved() and resolved().masking.rarity == 0


def test_every_range_of_an_option_has_a_case_here():
    ranged = {key for key, _, field in walk(PretrainConfig()) if field.metadata["bounds"] != Bounds()}
    tried = {key for key, _, _ in _ONE_FIELD} | {"seed", "data.sequence_length", "model.max_positions"}
    tried |= {"train.steps", "model.groups", "model.relative.span", "model.relative.buckets"}
    tried |= {"model.rotary.base", "model.rotary.local_base"}
    tried |= {"model.relative.convolution", "masking.mask", "masking.random", "masking.keep"}
    assert ranged <= tried


@pytest.mark.parametrize(
    "changes",
    [
        {"masking__mask": 1, "masking__random": 0, "masking__keep": 0},
        {"masking__mask": 0.7, "masking__random": 0.2, "masking__keep": 0.1},  # 0.9999999999999999 in binary
        {"masking__max_predictions": 128},
        {"masking__rarity": 0.7},
        {"data__sequence_length": 512},
        {"data__sequence_length": 8},
        {"data__path": "x.txt,installed_docs", "data__weights": (0.1, 3)},
        {"phases": ({"share": 0.5, "sequence_length": 8}, {"share": 0.5, "frozen": ("^bert/embeddings",)})},
        {"phases": ({"share": 0.1}, {"share": 0.2}, {"share": 0.7})},  # 0.9999999999999999 in binary
        {"data__format": "sentence_pair"},
        {"model__type_vocab_size": 0},
        {"model__pooler": "none", "data__sentence_objective": "none"},
        {"model__sharing": "ffn", "model__groups": 6, "model__embedding_size": 64, "parallel__fsdp": 4},
        {
            "model__positions": "disentangled",
            "model__relative__span": 4,
            "model__relative__buckets": 2,
            "model__relative__terms": ["p2c"],
            "model__relative__convolution": 5,
        },
        {
            "model__attention_backend": "cudnn",
            "model__attention_dropout_rate": 0,
            "model__dtype": "bfloat16",
        },
        RTD,
        RTD
        | {"data__packing": 4, "objective__generator_width": 0.01, "objective__embedding_sharing": "none"},
        RTD | {"model__positions": "disentangled", "objective__generator_width": 1},
        RTD | {"model__positions": "disentangled", "objective__embedding_sharing": "none"},
        {"train__steps": 10_001},
        {"train__steps": 1, "optim__schedule": "constant"},
        {"train__steps": 100, "optim__warmup_steps": 80, "optim__schedule": "wsd", "optim__decay_share": 0.2},
        {
            "optim__schedule": "wsd",
            "phases": ({"share": 0.5}, {"share": 0.5, "decay_share": 1.0, "floor": 0.5}),
        },
        {"optim__name": "muon", "optim__eps": 1e-8, "optim__weight_decay_by": "schedule"},
        {"parallel__mode": "pmap", "parallel__data": 8},
        {"parallel__fsdp": 8, "parallel__tensor": 12},
        {"data__eval_fraction": 0, "optim__clip_norm": 0, "model__dropout_rate": 0, "train__eval_batches": 0},
    ],
    ids=lambda v: str(v)[:60],
)
def test_values_on_the_right_side_of_each_edge_are_accepted(changes):
    assert validate(resolved(**changes)) == []


def test_many_faults_are_reported_together():
    found = faults(seed=-1, data__sequence_length=600, train__accumulate=7, optim__b2=2.0, parallel__data=0)
    assert sorted(found) == sorted(
        [
            "config.seed=-1 must be in [0, 2147483648)",
            "config.optim.b2=2.0 must be in [0, 1)",
            "config.data.sequence_length=600 must be <= config.model.max_positions=512",
            "config.train.batch_size=256 must be a multiple of config.train.accumulate=7",
            "config.parallel.data=0 must be > 0, or -1 for the devices that are left",
        ]
    )


# ---------------------------------------------------------------------------------------------
# Unknown keys and types
# ---------------------------------------------------------------------------------------------


def test_an_unknown_field_is_answered_with_the_known_ones_and_a_guess():
    raw = base().to_dict()
    raw["optim"]["learning_rat"] = 1
    with pytest.raises(ConfigError) as caught:
        resolve(raw)
    fields = ", ".join(f"optim.{field.name}" for field in dataclasses.fields(OptimConfig))
    assert str(caught.value) == (
        "config.optim.learning_rat is unknown: did you mean config.optim.learning_rate? known here: " + fields
    )


def test_an_unknown_group_is_answered_with_the_groups():
    with pytest.raises(ConfigError) as caught:
        resolve({"optimizer": {}})
    assert str(caught.value) == (
        "config.optimizer is unknown: known here: checkpoint, cleaning, data, init, log, masking, model, objective, optim,"
        " parallel, phases, seed, tokenizer, train"
    )


def test_a_field_in_the_wrong_group_is_found_by_its_name():
    with pytest.raises(
        ConfigError, match=r"^config\.train\.warmup_steps is unknown: did you mean config\.optim"
    ):
        resolve({"train": {"warmup_steps": 5}})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"train__steps": 10.0}, "config.train.steps=10.0 must be a whole number"),
        ({"train__steps": "10"}, "config.train.steps='10' must be a whole number"),
        ({"train__steps": True}, "config.train.steps=True must be a whole number"),
        ({"optim__learning_rate": "1e-4"}, "config.optim.learning_rate='1e-4' must be a finite number"),
        ({"optim__learning_rate": float("nan")}, "config.optim.learning_rate=nan must be a finite number"),
        ({"optim__clip_norm": float("inf")}, "config.optim.clip_norm=inf must be a finite number"),
        ({"optim__eps": False}, "config.optim.eps=False must be a finite number"),
        ({"model__biases": 1}, "config.model.biases=1 must be true or false"),
        (
            {"model__remat": True},
            "config.model.remat=True must be one of: none, attention, dots, full",
        ),
        ({"data__path": 3}, "config.data.path=3 must be text"),
        ({"data__path": None}, "config.data.path=None must be text"),
        ({"model__layers": "unroll"}, "config.model.layers='unroll' must be one of: loop, scan"),
        (
            {"optim__name": None},
            "config.optim.name=None must be one of: adamw, bert_adam, lamb, stable_adamw, adafactor, lion, muon",
        ),
        ({"data__weights": 1.0}, "config.data.weights=1.0 must be a sequence"),
        ({"data__weights": "1"}, "config.data.weights='1' must be a sequence"),
        (
            {"data__weights": [1, "b"]},
            "config.data.weights=(1.0, 'b') must be a sequence, each a finite number",
        ),
        (
            {"data__quirks": ["ten-draws", "five-draws"]},
            "config.data.quirks=('ten_draws', 'five_draws') must be a sequence, each one of:"
            " short_per_document, lone_is_random, ten_draws",
        ),
        ({"train": 3}, "config.train=3 must be a group of fields"),
        ({"model": 3}, "config.model=3 must be a group of fields"),
        ({"seed": {"a": 1}}, "config.seed={'a': 1} must be a whole number"),
        (
            {"model__preset": "bert-huge"},
            f"config.model.preset='bert-huge' must be one of: {', '.join(PRESETS)} (did you mean bert-large?)",
        ),
    ],
    ids=lambda v: str(v)[:50],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_allowed(changes, fault):
    assert faults(**changes) == (fault,)


def test_a_tokenizer_that_is_no_group_is_named():
    with pytest.raises(ConfigError, match=r"^config\.tokenizer=3 must be a group of fields$"):
        resolve({"tokenizer": 3})


def test_type_faults_are_reported_together_and_hide_the_rules():
    found = faults(train__steps="many", optim__b1=None, data__sequence_length=4)
    assert sorted(found) == [
        "config.optim.b1=None must be a finite number",
        "config.train.steps='many' must be a whole number",
    ]


def test_the_order_of_the_faults_does_not_change_from_run_to_run():
    program = (
        "from bert_jax.config import resolve\n"
        "try: resolve({'c': 1, 'b': 1, 'a': 1, 'optim': {'b1': '', 'b2': '', 'eps': '', 'name': ''}})\n"
        "except Exception as error: print(error)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == 7


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        ("data__format", "sentence-pair", "sentence_pair"),
        ("optim__name", "bert-adam", "bert_adam"),
        ("masking__unit", "whole-word", "whole_word"),
        ("data__quirks", ["ten-draws", "short_per_document"], ("ten_draws", "short_per_document")),
        ("data__weights", [1, 0.5], (1.0, 0.5)),
    ],
)
def test_a_value_has_one_spelling(field, given, expected):
    others = {"data__path": "a,b"}
    assert resolved(**others, **{field: given}) == resolved(**others, **{field: expected})
    group, name = field.split("__")
    assert getattr(getattr(resolved(**others, **{field: given}), group), name) == expected


def test_a_whole_number_is_accepted_where_a_float_is_meant():
    learning_rate = resolved(optim__learning_rate=1).optim.learning_rate
    assert learning_rate == 1.0
    assert type(learning_rate) is float


# ---------------------------------------------------------------------------------------------
# Overrides
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.learning_rate=1e-4", 1e-4),
        ("optim.learning_rate=2", 2.0),
        ("optim.weight_decay=0", 0.0),
        ("train.steps=20_000", 20_000),
        ("train.steps=2e4", 20_000),
        ("train.steps = 20000 ", 20_000),
        ("train.steps=9007199254740993", 9007199254740993),  # 2**53 + 1: no float holds it
        ("model.biases=true", True),
        ("model.biases=False", False),
        ("model.biases=1", True),
        ("model.preset=bert-tiny", "bert-tiny"),
        ("data.path=a=b.txt,c d.txt", "a=b.txt,c d.txt"),
        ("tokenizer.path=1", "1"),
        ("tokenizer.path=", ""),
        ("data.sentence_objective=sop", "sop"),
        ("data.format=sentence-pair", "sentence_pair"),
        ("data.weights=2", (2.0,)),
        ("data.weights=", ()),
        ("data.quirks=ten-draws, lone_is_random", ("ten_draws", "lone_is_random")),
    ],
)
def test_an_override_is_parsed_by_the_type_of_its_field(tmp_path, override, expected):
    config = load(experiment(tmp_path, ""), [override])
    value = dict((key, value) for key, value, _ in describe(config))[override.partition("=")[0].strip()]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.steps=1.5", r"config\.train\.steps=1\.5 must be a whole number"),
        ("train.steps=many", r"config\.train\.steps='many' must be a whole number"),
        ("train.steps=1e999", r"config\.train\.steps=inf must be a whole number"),
        ("train.steps=", r"config\.train\.steps='' must be a whole number"),
        ("optim.b1=nan", r"config\.optim\.b1=nan must be a finite number"),
        ("model.biases=yes", r"config\.model\.biases='yes' must be true or false"),
        ("data.weights=1,x", r"config\.data\.weights=\(1\.0, 'x'\) must be a sequence, each a finite number"),
        ("data.quirks=none", r"config\.data\.quirks=\('none',\) must be a sequence, each one of: short_per"),
        ("train.steps", r"--config\.train\.steps needs a value: --config\.train\.steps=VALUE"),
        ("train=5", r"config\.train is unknown: .*known here: checkpoint, cleaning, data"),
        ("nothing.at.all=5", r"config\.nothing\.at\.all is unknown"),
        ("seed.more=5", r"config\.seed\.more is unknown"),
        ("train.step=5", r"config\.train\.step is unknown: did you mean config\.train\.steps\?"),
    ],
)
def test_an_override_that_cannot_be_used_says_why(tmp_path, override, fault):
    with pytest.raises(ConfigError, match=f"^{fault}"):
        load(experiment(tmp_path, ""), [override])


def test_faults_of_overrides_and_of_the_file_come_together(tmp_path):
    file = experiment(tmp_path, "config.train.log_every = 0.5 if False else 10")
    with pytest.raises(ConfigError) as caught:
        load(file, ["optim.lr=1", "train.steps=x", "model.remat"])
    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "config.optim.lr",
        "--config.model.remat",
        "config.train.steps='x'",
    ]


def test_an_override_of_several_values_is_a_list_of_them(tmp_path):
    data = load(experiment(tmp_path, ""), ["data.path=a.txt, tfds:b:train", "data.weights=1,0.5"]).data
    assert data.weights == (1.0, 0.5)
    assert data.sources() == ("a.txt", "tfds:b:train")


def test_a_later_override_wins(tmp_path):
    assert load(experiment(tmp_path, "config.seed = 1"), ["seed=2", "seed=3"]).seed == 3


# ---------------------------------------------------------------------------------------------
# Presets and derived values
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_every_field_that_is_not_set(name):
    preset = PRESETS[name]
    objective = "nsp" if preset.pooler != "none" else "none"
    config = resolved(
        model__preset=name, tokenizer__vocab_size=preset.vocab_size, data__sentence_objective=objective
    )
    assert config.model == preset


def test_a_field_that_is_set_wins_over_the_preset():
    model = resolved(model__preset="bert-tiny", model__num_layers=5, model__dropout_rate=0).model
    assert model == dataclasses.replace(PRESETS["bert-tiny"], num_layers=5, dropout_rate=0.0)


def test_the_tokenizer_drives_the_vocabulary_of_the_model():
    assert resolved(tokenizer__vocab_size=1000).model.vocab_size == 1000
    assert resolve({"tokenizer": {"vocab_size": 1000}}).model.vocab_size == 1000


@pytest.mark.parametrize(
    ("length", "rate", "slots"),
    [(128, 0.15, 20), (512, 0.15, 77), (100, 0.15, 15), (8, 0.15, 2), (128, 0.4, 52), (100, 0.07, 7)],
)
def test_prediction_slots_default_to_the_share_of_the_row_rounded_up(length, rate, slots):
    config = resolved(data__sequence_length=length, masking__rate=rate)
    assert config.masking.max_predictions == slots


def test_prediction_slots_that_are_set_stay():
    assert resolved(data__sequence_length=512, masking__max_predictions=80).masking.max_predictions == 80


# ---------------------------------------------------------------------------------------------
# base(), resolve(), to_dict(), differences(), describe()
# ---------------------------------------------------------------------------------------------


def test_base_resolves_to_the_defaults_of_the_dataclasses():
    assert resolve(base()) == dataclasses.replace(PretrainConfig(), masking=MaskingConfig(max_predictions=20))
    assert resolve({}) == resolve(base())
    assert resolve(base()).model == ModelConfig() == PRESETS["bert-base"]


def test_base_is_locked():
    config = base()
    with pytest.raises(AttributeError, match="learning_rat"):
        config.optim.learning_rat = 1.0
    with pytest.raises(AttributeError, match="optimizer"):
        config.optimizer = 1


def test_two_bases_share_nothing():
    first = base()
    first.optim.b1 = 0.5
    assert base().optim.b1 == 0.9


def test_resolving_leaves_its_input_alone():
    raw = base().to_dict()
    before = json.dumps(raw)
    resolve(raw)
    assert json.dumps(raw) == before


@settings(max_examples=30, deadline=None)
@given(
    preset=st.sampled_from(sorted(PRESETS)),
    vocabulary=st.integers(1, 10**6),
    length=st.integers(8, 512),
    rate=st.floats(0.01, 0.99),
    learning_rate=st.floats(1e-9, 10),
    objective=st.sampled_from(["none", "nsp", "sop"]),
    weight=st.floats(1e-3, 1e3),
    quirks=st.lists(st.sampled_from(["short_per_document", "lone_is_random", "ten_draws"]), unique=True),
    remat=st.sampled_from(["none", "attention", "dots", "full"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_resolved_config_survives_json_and_resolves_to_itself(
    preset, vocabulary, length, rate, learning_rate, objective, weight, quirks, remat, seed
):
    if PRESETS[preset].pooler == "none":
        objective = "none"
    config = resolved(
        model__preset=preset,
        model__remat=remat,
        tokenizer__vocab_size=vocabulary,
        data__sequence_length=length,
        data__sentence_objective=objective,
        data__weights=[weight],
        data__quirks=quirks if objective == "nsp" else [],
        masking__rate=rate,
        optim__learning_rate=learning_rate,
        seed=seed,
    )
    assert resolve(json.loads(json.dumps(to_dict(config)))) == config


def test_a_resolved_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve({}).seed = 3


def test_differences_name_each_field_that_differs_and_no_other():
    ours = resolved(seed=1, optim__b1=0.5, data__path="x")
    theirs = resolved()
    assert differences(ours, ours) == []
    assert differences(ours, theirs) == [
        "config.seed: 1 now, 0 there",
        "config.optim.b1: 0.5 now, 0.9 there",
        "config.data.path: 'x' now, 'installed_docs' there",
    ]
    assert differences(ours, theirs, ignore=["data.", "seed"]) == ["config.optim.b1: 0.5 now, 0.9 there"]


def test_every_key_is_described_in_order():
    rows = list(describe(resolve({})))
    assert [key for key, _, _ in rows] == known_keys()
    assert ("optim.b2", 0.999, "decay of the second moment; lion: of the momentum") in rows
    assert all(meaning and "\n" not in meaning for _, _, meaning in rows)


# ---------------------------------------------------------------------------------------------
# Experiment files
# ---------------------------------------------------------------------------------------------


def test_an_experiment_sets_only_what_differs(tmp_path):
    config = load(experiment(tmp_path, "config.model.preset = 'bert-mini'\nconfig.train.steps = 20_000"))
    assert config == resolved(model__preset="bert-mini", train__steps=20_000)


def test_an_argument_after_a_colon_reaches_get_config(tmp_path):
    file = tmp_path / "sized.py"
    file.write_text(
        "from bert_jax.config import base\n"
        "def get_config(preset='bert-tiny'):\n"
        "    config = base()\n"
        "    config.model.preset = preset\n"
        "    return config\n"
    )
    assert load(str(file)).model.preset == "bert-tiny"
    assert load(f"{file}:bert-mini").model.preset == "bert-mini"
    with pytest.raises(ConfigError, match=r"^config\.model\.preset='bert-gigantic' must be one of"):
        load(f"{file}:bert-gigantic")


def test_an_argument_that_get_config_does_not_take_is_a_fault(tmp_path):
    file = experiment(tmp_path, "")
    with pytest.raises(ConfigError, match=r"experiment\.py:\d+: TypeError: .*takes 0 positional"):
        load(f"{file}:large")


def test_a_missing_experiment_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"^--config=.*/gone\.py: no such file: .*/gone\.py$"):
        load(f"{tmp_path}/gone.py")


def test_an_experiment_without_get_config_is_a_usage_error(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("config = 1\n")
    with pytest.raises(UsageError, match=r"x\.py: the file must define get_config\(\) and does not$"):
        load(str(file))


def test_a_syntax_error_in_an_experiment_names_file_and_line(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("a = 1\ndef get_config(:\n")
    with pytest.raises(UsageError, match=r"x\.py:2: SyntaxError: invalid syntax$"):
        load(str(file))


def test_a_misspelt_field_in_an_experiment_is_one_line_that_names_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(experiment(tmp_path, "config.optim.learning_rat = 1"))
    assert re.search(r"experiment\.py:\d+: AttributeError: .*learning_rat\b", str(caught.value))
    assert "\n" not in str(caught.value)


def test_an_experiment_that_raises_without_words_is_named_by_the_error(tmp_path):
    with pytest.raises(ConfigError, match=r"experiment\.py:\d+: ValueError$"):
        load(experiment(tmp_path, "raise ValueError"))


def test_an_experiment_that_forgets_to_return_is_told_so(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("from bert_jax.config import base\ndef get_config():\n    config = base()\n")
    with pytest.raises(
        ConfigError, match=r"x\.py: get_config\(\) must return a configuration, returned None$"
    ):
        load(str(file))


def test_usage_errors_end_a_command_with_status_2(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(f"{tmp_path}/gone.py")
    assert caught.value.exit_status == ConfigError([]).exit_status == 2


@pytest.mark.parametrize(
    "file", [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("experiments/*.py"))]
)
def test_every_shipped_experiment_resolves(file):
    config = load(str(ROOT / file))
    assert resolve(to_dict(config)) == config
    assert (ROOT / file).read_text().lstrip().startswith('"""'), "an experiment opens with its command"
