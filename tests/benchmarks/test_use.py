"""What is measured of a trained model's use: fine-tuning, a forward pass, prediction."""

import dataclasses

import pytest

from bert_jax import api
from bert_jax import config as configs
from bert_jax.benchmarks import finetune, latency, predict
from bert_jax.config import FinetuneConfig, PretrainConfig
from bert_jax.config.presets import PRESETS
from bert_jax.errors import ConfigError, UsageError
from tests.tiny_models import save_tiny

WORDS = ["good", "bad", "film", "plot", "the", "was", "."]
TEXTS = ["the film was good .", "the plot", "the plot was bad . the film was good . the film"] * 30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS)
    rows = [f"{text}\t{'good' if i % 2 else 'bad'}" for i, text in enumerate(TEXTS)]
    (folder / "train.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        yield folder


def config_of(made, **task):
    config = configs.base(FinetuneConfig).to_dict()
    config["task"] |= {"train": str(made / "train.tsv"), "max_length": 48, **task}
    config["train"]["batch_size"] = 8
    return configs.resolve(config, FinetuneConfig)


@pytest.mark.slow
def test_packed_rows_have_fewer_slots_than_padded_ones(made):
    values = finetune.measure(config_of(made), str(made / "model"), seconds=0.05, repeats=1)
    assert values["pack_token_slots"] * values["pack_used"] == pytest.approx(
        values["pad_token_slots"] * values["pad_used"], rel=0.02
    )
    assert values["ratio_to_pad"] == values["pack_steps_per_s"] / values["pad_steps_per_s"]


def test_the_baseline_fine_tunes_the_same_examples(made):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    values = finetune.measure(config_of(made), str(made / "model"), seconds=0.05, repeats=1, baseline="hf")
    assert values["ratio_to_hf"] == values["pack_steps_per_s"] / values["hf_steps_per_s"]
    with pytest.raises(ConfigError, match="kind='tagging'"):
        finetune.measure(config_of(made, kind="tagging"), "no model", seconds=0.05, repeats=1, baseline="hf")


def test_latency_is_of_the_rows_that_are_asked_for():
    config = dataclasses.replace(PretrainConfig(), model=PRESETS["bert-tiny"])
    values = latency.measure(config, batch=2, length=16, seconds=0.05, repeats=1)
    assert values["batch"] == [2, 16] and values["native_ms"] > 0


def test_a_forward_pass_beside_hugging_faces():
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    config = dataclasses.replace(PretrainConfig(), model=PRESETS["bert-tiny"])
    values = latency.measure(config, batch=1, length=8, seconds=0.05, repeats=1, baseline="hf")
    assert values["ratio"] == pytest.approx(values["hf_ms"] / values["native_ms"])


@pytest.mark.parametrize("task", ["embed", "classify"])
def test_predictions_beside_hugging_faces_are_the_same_numbers(made, task, tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model = str(made / "model")
    if task == "classify":
        from bert_jax.tasks.finetune import finetune as train

        config = config_of(made)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=1))
        config = dataclasses.replace(config, log=dataclasses.replace(config.log, sinks=()))
        train(config, tmp_path / "run", init=model)
        model = str(tmp_path / "run")
    values = predict.measure(api.load(model), task, TEXTS, repeats=1, baseline="hf")
    assert values["largest_difference"] < 1e-5
    assert values["texts"] == len(TEXTS) and values["ratio"] > 0


def test_no_text_is_refused(made):
    with pytest.raises(UsageError, match="no text"):
        predict.measure(None, "embed", [], repeats=1)
