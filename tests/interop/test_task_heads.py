"""Task heads in the files of Hugging Face: names, labels, what is refused and what is left out; no torch."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop import config_json, formats, names
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import LoadReport, load_hf
from bert_jax.interop.save import save_hf
from bert_jax.models import inference
from tests.golden import drawn
from tests.interop.small import CONFIGS, TOKENIZER

LABELS = ("neg", "neu", "pos")
KINDS = {
    "classification": LABELS, "multilabel": LABELS, "regression": (), "tagging": LABELS, "span": (),
}  # fmt: skip
HIDDEN = {
    "roberta": "tanh",
    "electra": "gelu",
    "distilbert": "relu",
    "modernbert": "transform",
    "neobert": "tanh",
}
POOLERS = {"bert": "tanh", "albert": "tanh", "deberta": "gelu", "deberta_v2": "tanh"}
"""Of the families whose classes for texts have one."""

# The modules of the heads, as transformers names them.
_OUT_PROJ = {"classifier.dense", "classifier.out_proj"}
TEXT_MODULES = {
    "bert": {"bert.pooler.dense", "classifier"},
    "roberta": _OUT_PROJ,
    "albert": {"albert.pooler", "classifier"},
    "electra": _OUT_PROJ,
    "distilbert": {"pre_classifier", "classifier"},
    "deberta": {"pooler.dense", "classifier"},
    "deberta_v2": {"pooler.dense", "classifier"},
    "modernbert": {"head.dense", "head.norm", "classifier"},
    "neobert": {"dense", "classifier"},
}
PREFIXES = {
    "bert": "Bert", "roberta": "Roberta", "albert": "Albert", "electra": "Electra", "distilbert": "DistilBert",
    "deberta": "Deberta", "deberta_v2": "DebertaV2", "modernbert": "ModernBert", "neobert": "NeoBERT",
}  # fmt: skip
CASES = [(f, k) for f in FAMILIES for k in KINDS if f != "neobert" or k not in ("tagging", "span")]
"""NeoBERT has a class for texts alone."""


def model(family, kind, **fields):
    """(config, params) of a tiny model with the family's head of a kind."""
    is_text = kind in ("classification", "multilabel", "regression")
    hidden = HIDDEN.get(family, "pooler") if is_text or family == "modernbert" else "pooler"
    head = HeadConfig(kind=kind, labels=KINDS.get(kind, ()), hidden=hidden)
    head = dataclasses.replace(head, **fields)
    pooler = POOLERS.get(family, "none") if is_text else "none"
    config = dataclasses.replace(CONFIGS[family], head=head, pooler=pooler)
    parts = ("task_head", "bert/pooler")
    return config, names.from_hf(drawn.weights(config, parts, seed=5), config)


def saved(tmp_path, family="bert", kind="classification", **fields):
    """The folder of an export of `model`."""
    config, params = model(family, kind, **fields)
    save_hf(tmp_path / "model", params, config=config, tokenizer=TOKENIZER)
    return tmp_path / "model"


def edit_config(folder, **values):
    """Rewrites config.json; `...` removes a key."""
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refusal(folder):
    with pytest.raises(UserError) as caught:
        load_hf(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_params(found, params):
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


# ---------------------------------------------------------------------------------------------
# Names and round trips
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_the_class_its_tensors_and_back(family, kind, tmp_path):
    config, params = model(family, kind)
    report = save_hf(tmp_path / "a", params, config=config, tokenizer=TOKENIZER)
    suffix = {"tagging": "TokenClassification", "span": "QuestionAnswering"}.get(
        kind, "SequenceClassification"
    )
    assert (report.architecture, report.left) == (f"{PREFIXES[family]}For{suffix}", ())
    heads = {entry.theirs for entry in names.table(config) if entry.head in ("task_head", "bert/pooler")}
    modules = {"tagging": {"classifier"}, "span": {"qa_outputs"}}.get(kind, TEXT_MODULES[family])
    modules = TEXT_MODULES[family] if family == "modernbert" else modules
    without_bias = {"head.dense", "head.norm"}
    assert heads == {f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")} - {
        f"{module}.bias" for module in without_bias
    }
    assert heads <= load_file(tmp_path / "a" / "model.safetensors").keys()
    found, found_params, loaded = load_hf(tmp_path / "a")
    # DeBERTa and DistilBERT have no key for a tagger's dropout, no family but DistilBERT for a span's.
    rate = found.head.dropout_rate
    assert dataclasses.replace(found, head=dataclasses.replace(found.head, dropout_rate=0.1)) == config
    assert rate == (0.0 if kind == "span" and family not in ("distilbert", "modernbert") else 0.1)
    assert loaded.unexpected == loaded.notes == ()
    assert_params(found_params, params)


def test_the_model_that_is_loaded_computes_the_head(tmp_path):
    config, params, _ = load_hf(saved(tmp_path))
    one_BL = np.ones((2, 5), np.int32)
    out = inference.forward(config, params, one_BL, 0 * one_BL, one_BL)
    pooled_D = out.pooled_BPD[0, 0]
    weight = load_file(tmp_path / "model" / "model.safetensors")
    expected_C = weight["classifier.weight"] @ pooled_D + weight["classifier.bias"]
    np.testing.assert_allclose(out.class_logits_BPC[0, 0], expected_C, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "kind", "entries", "rate"),
    [
        ("bert", "classification", {"classifier_dropout": 0.3}, 0.3),
        ("bert", "classification", {"classifier_dropout": None, "hidden_dropout_prob": 0.2}, 0.2),
        ("bert", "span", {"hidden_dropout_prob": 0.2}, 0.0),
        ("albert", "tagging", {"classifier_dropout_prob": ...}, 0.1),
        ("albert", "tagging", {"classifier_dropout_prob": 0.4}, 0.4),
        ("distilbert", "classification", {"seq_classif_dropout": ...}, 0.2),
        ("distilbert", "tagging", {"dropout": 0.3}, 0.3),
        ("distilbert", "span", {"qa_dropout": 0.05}, 0.05),
        ("deberta", "classification", {"cls_dropout": 0.15}, 0.15),
        ("deberta", "classification", {"cls_dropout": ..., "hidden_dropout_prob": 0.2}, 0.2),
    ],
)
def test_dropout_of_the_head(family, kind, entries, rate, tmp_path):
    folder = saved(tmp_path, family, kind)
    edit_config(folder, **entries)
    assert load_hf(folder)[0].head.dropout_rate == rate


# ---------------------------------------------------------------------------------------------
# Labels
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "labels"),
    [
        ({"id2label": {"2": "c", "0": "a", "1": "b"}}, ("a", "b", "c")),
        ({"id2label": ..., "label2id": {"c": 2, "a": 0, "b": 1}}, ("a", "b", "c")),
        ({"id2label": ..., "label2id": {"c": "2", "a": "0", "b": "1"}}, ("a", "b", "c")),
        ({"id2label": ..., "label2id": ..., "num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"0": 1, "1": 2, "2": 3}}, ("1", "2", "3")),
    ],
)
def test_labels(entries, labels, tmp_path):
    folder = saved(tmp_path)
    edit_config(folder, **entries)
    assert load_hf(folder)[0].head.labels == labels


def test_two_labels_where_config_json_says_nothing(tmp_path):
    folder = saved(tmp_path, labels=("a", "b"))
    edit_config(folder, id2label=..., label2id=...)
    assert load_hf(folder)[0].head.labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, "of 3 different ids from 0 to 2, without gaps"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "of 3 different names, has 2"),
        ({"id2label": {"x": "a"}}, "id2label={'x': 'a'} must be of whole ids and label names"),
        ({"id2label": {"0": ["a"]}}, "must be of whole ids and label names"),
        ({"id2label": ["a", "b"]}, "id2label=['a', 'b'] must be an object of ids and label names"),
        ({"id2label": ..., "label2id": {"a": 0, "b": 0}}, "of 2 different ids from 0 to 1"),
        ({"id2label": ..., "label2id": {"a": 0.5}}, "label2id={'a': 0.5} must be of whole ids"),
        ({"id2label": ..., "label2id": ..., "num_labels": 0}, "num_labels=0 must be a whole number > 0"),
        ({"problem_type": "ranking"}, "problem_type='ranking' must be one of single_label_classification"),
        ({"problem_type": "regression"}, "must be of one number, id2label has 3 labels"),
        ({"architectures": "BertForSequenceClassification"}, "must be a list of class names"),
        ({"classifier_dropout": 1.5}, "classifier_dropout=1.5 must be a number in [0, 1)"),
    ],
)
def test_a_config_whose_head_makes_no_sense(entries, message, tmp_path):
    folder = saved(tmp_path)
    edit_config(folder, **entries)
    said = refusal(folder)
    assert message in said and "config.json" in said


def test_a_long_value_is_not_repeated_whole(tmp_path):
    folder = saved(tmp_path)
    edit_config(folder, id2label={str(i + 1): f"label number {i}" for i in range(1000)})
    assert len(refusal(folder)) < 500


def kind_of(architecture="BertForSequenceClassification", **entries):
    raw = {"model_type": "bert", "architectures": [architecture], **entries}
    return config_json.config_from_hf(raw, place="config.json").head


def test_the_kind_is_transformers():
    one = {"id2label": {"0": "score"}}
    assert kind_of().kind == "classification"
    assert kind_of(**one) == HeadConfig(kind="regression", labels=("score",))
    assert kind_of(num_labels=1) == HeadConfig(kind="regression")
    assert kind_of(**one, problem_type="multi_label_classification").kind == "multilabel"
    assert kind_of(problem_type="multi_label_classification").kind == "multilabel"
    assert kind_of("BertForQuestionAnswering") == HeadConfig(kind="span", dropout_rate=0.0)
    with pytest.raises(UserError, match=r"must be of two classes or more, id2label has 1"):
        kind_of(**one, problem_type="single_label_classification")
    with pytest.raises(UserError, match=r"id2label=\{'0': 'score'\} must be of 2 labels"):
        kind_of("BertForQuestionAnswering", **one)


@pytest.mark.parametrize(
    "architecture",
    [
        "BertForMultipleChoice", "TFBertForSequenceClassification", "FlaxBertForTokenClassification",
        "RobertaForSequenceClassification", "BertForMaskedLM", "BertModel",
    ],
)  # fmt: skip
def test_a_head_of_another_class_is_left_aside_and_named(architecture, tmp_path):
    folder = saved(tmp_path)
    edit_config(folder, architectures=[architecture])
    config, params, report = load_hf(folder)
    assert config.head == HeadConfig() and "task_head" not in params
    assert report.unexpected == ("classifier.bias", "classifier.weight")


# ---------------------------------------------------------------------------------------------
# Tensors
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "tensor"), [("bert", "classifier"), ("roberta", "classifier.out_proj")])
def test_a_head_of_another_size(family, tensor, tmp_path):
    folder = saved(tmp_path, family)
    edit_config(folder, id2label={str(i): f"class {i}" for i in range(5)}, label2id=...)
    assert f"a head of another size: tensor {tensor}.weight has 3 rows, config.json has 5 labels" in refusal(
        folder
    )


def test_the_head_of_another_model(tmp_path):
    folder = saved(tmp_path)
    edit_tensors(folder, lambda tensors: tensors.update({"classifier.weight": np.ones((3, 16), np.float32)}))
    said = refusal(folder)
    assert "classifier.weight has shape (3, 16), config.json says (3, 12)" in said
    assert "another size" not in said


@pytest.mark.parametrize(
    ("family", "tensor", "message"),
    [
        ("bert", "classifier.weight", "classifier.weight of shape (3, 12) of BertForSequenceClassification"),
        ("bert", "bert.pooler.dense.bias", "bert.pooler.dense.bias of shape (12,) of BertForSequenceClass"),
        ("distilbert", "pre_classifier.weight", "of DistilBertForSequenceClassification, which config.json"),
        ("deberta", "pooler.dense.weight", "of DebertaForSequenceClassification, which config.json names"),
    ],
)
def test_a_class_without_its_heads_tensors(family, tensor, message, tmp_path):
    folder = saved(tmp_path, family)
    module = tensor.rpartition(".")[0]
    edit_tensors(folder, lambda tensors: tensors.pop(tensor))
    assert message in refusal(folder)
    edit_tensors(
        folder,
        lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(f"{module}.")],
    )
    assert f"tensor {module}." in refusal(folder)


def test_a_pooler_that_an_older_tagger_was_saved_with_is_kept_and_named_on_the_way_out(tmp_path):
    folder = saved(tmp_path, kind="tagging")
    pooler = {"weight": np.ones((12, 12), np.float32), "bias": np.ones(12, np.float32)}
    edit_tensors(
        folder, lambda tensors: tensors.update({f"bert.pooler.dense.{k}": v for k, v in pooler.items()})
    )
    config, params, report = load_hf(folder)
    assert (config.pooler, report.unexpected) == ("tanh", ())
    assert save_hf(tmp_path / "b", params, config=config, tokenizer=TOKENIZER).left == ("bert/pooler",)


# ---------------------------------------------------------------------------------------------
# What an export refuses, and what it leaves out
# ---------------------------------------------------------------------------------------------


def export_refusal(family, kind, tmp_path, **fields):
    config, params = model(family, kind, **fields)
    with pytest.raises(UserError) as caught:
        save_hf(tmp_path / "a", params, config=config, tokenizer=TOKENIZER)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("family", "kind", "fields", "message"),
    [
        ("bert", "classification", {"hidden": "tanh"}, "model.head.hidden='tanh' must be 'pooler'"),
        ("albert", "regression", {"hidden": "relu"}, "exported as AlbertForSequenceClassification"),
        ("roberta", "classification", {"hidden": "gelu"}, "model.head.hidden='gelu' must be 'tanh'"),
        ("distilbert", "multilabel", {"hidden": "tanh"}, "model.head.hidden='tanh' must be 'relu'"),
        ("bert", "classification", {"labels": ("a",)}, "head.kind='classification' must be 'regression'"),
        ("bert", "tagging", {"labels": ("a", "a")}, "must be of 2 different names, has 1"),
    ],
)
def test_a_head_that_the_class_does_not_compute(family, kind, fields, message, tmp_path):
    assert message in export_refusal(family, kind, tmp_path, **fields)


def test_a_pooler_that_the_class_does_not_have(tmp_path):
    config, params = model("bert", "classification")
    config = dataclasses.replace(config, pooler="gelu")
    with pytest.raises(UserError, match=r"pooler='gelu' must be 'tanh' .* BertForSequenceClassification"):
        save_hf(tmp_path / "a", params, config=config, tokenizer=TOKENIZER)


def test_the_head_without_its_parameters(tmp_path):
    config, params = model("bert", "tagging")
    with pytest.raises(UserError, match=r"parameter task_head/output/kernel of shape \(12, 3\) is missing"):
        save_hf(tmp_path / "a", {"bert": params["bert"]}, config=config, tokenizer=TOKENIZER)


@pytest.mark.parametrize("form", ["hf", "safetensors"])
def test_an_export_says_what_it_leaves_out(form, tmp_path):
    """Heads beside the one of the class, and what was not read in the first place."""
    config, params = model("bert", "tagging")
    extra = {"pair_head": {"dense": {"kernel": np.ones((12, 2), np.float32)}}}
    report = LoadReport((), ("classifier.bias",), ("modules.json: no Dense here",))
    said = formats.export(
        form,
        tmp_path / "a",
        {**params, **extra},
        config=config,
        tokenizer=TOKENIZER,
        report=report,
    ).split("\n")
    assert [line for line in said if line.startswith("left out") and "pair_head" in line]
    assert "left out, for it was not read: classifier.bias" in said and said[-1] == report.notes[0]
    plain = formats.export(form, tmp_path / "b", params, config=config, tokenizer=TOKENIZER)
    assert "left out" not in plain and "\n" not in plain
