"""Which kernel computes attention."""

import logging

import pytest

from bert_jax.config.presets import PRESETS
from bert_jax.models import backends
from bert_jax.models.backends import automatic, backend_for
from tests.configs import changed

BASE = changed(PRESETS["bert-base"], dtype="bfloat16")


def on(platform, config=BASE, length=512, heads=12, drops=True):
    return automatic(config, length, heads=heads, drops=drops, platform=platform)


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("pallas", {"platform": "tpu"}),
        ("pallas", {"platform": "tpu", "heads": 6}),
        ("xla", {"platform": "tpu", "heads": 3}),  # 192 columns a device: no whole groups of 128
        ("xla", {"platform": "tpu", "length": 128}),
        ("xla", {"platform": "tpu", "length": 500}),
        ("xla", {"platform": "tpu", "config": changed(BASE, positions="alibi")}),
        ("xla", {"platform": "tpu", "config": changed(BASE, num_heads=48), "heads": 48}),
        ("xla", {"platform": "gpu"}),
        ("cudnn", {"platform": "gpu", "drops": False}),
        ("xla", {"platform": "gpu", "drops": False, "length": 511}),
        ("xla", {"platform": "gpu", "drops": False, "config": changed(BASE, dtype="float32")}),
        ("xla", {"platform": "gpu", "drops": False, "config": changed(BASE, positions="disentangled")}),
        ("xla", {"platform": "other", "drops": False}),
        ("xla", {"platform": "cpu", "drops": False}),
    ],
    ids=str,
)
def test_auto(expected, given):
    assert on(**given) == expected


@pytest.mark.parametrize(
    ("named", "length", "expected"),
    [
        ("auto", 512, "pallas"),
        ("auto", 128, "xla"),
        ("xla", 512, "xla"),
        ("pallas", 128, "pallas"),
        ("pallas", 100, "xla"),
        ("triton", 192, "triton"),
        ("triton", 100, "xla"),
        ("cudnn", 100, "cudnn"),
    ],
)
def test_what_is_named_is_taken_where_it_can_be(monkeypatch, named, length, expected):
    monkeypatch.setattr(backends, "_platform", lambda: "tpu")
    assert backend_for(changed(BASE, attention_backend=named), length, drops=True) == expected


def test_the_choice_is_logged_once_for_each_length(monkeypatch, caplog):
    monkeypatch.setattr(backends, "_platform", lambda: "tpu")
    backends._tell.cache_clear()
    with caplog.at_level(logging.INFO):
        for length in (1024, 1024, 384):
            backend_for(BASE, length, drops=True)
    assert [record.message for record in caplog.records] == [
        f"attention over rows of {length}: pallas (config.model.attention_backend)" for length in (1024, 384)
    ]


def test_on_this_machine_it_is_xla_without_a_word(caplog):
    with caplog.at_level(logging.INFO):
        assert backend_for(BASE, 512, drops=False) == "xla"
    assert caplog.records == []
