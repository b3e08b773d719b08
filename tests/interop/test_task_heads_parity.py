"""Task heads = the installed transformers', live: its checkpoints read, ours opened by it, the same logits."""

import jax
import numpy as np
import pytest

from bert_jax.config.head import HeadConfig
from bert_jax.interop import names
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from bert_jax.models import inference
from tests.configs import changed
from tests.golden import drawn
from tests.interop.small import CONFIGS, TOKENIZER

torch = pytest.importorskip("torch", reason="the reference needs torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

NAMES = ("neg", "neu", "pos")
_SIZES = {
    "vocab_size": 41, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3,
    "intermediate_size": 20, "max_position_embeddings": 19, "pad_token_id": 0,
}  # fmt: skip
_RELATIVE = _SIZES | {
    "relative_attention": True, "position_biased_input": False, "legacy": False, "pos_att_type": "p2c|c2p",
    "max_relative_positions": 6,
}  # fmt: skip
SETTINGS = {
    "bert": _SIZES,
    "roberta": _SIZES | {"type_vocab_size": 1},
    "albert": _SIZES | {"embedding_size": 8},
    "electra": _SIZES | {"embedding_size": 8},
    "distilbert": {
        "vocab_size": 41, "dim": 12, "n_layers": 1, "n_heads": 3, "hidden_dim": 20,
        "max_position_embeddings": 19, "pad_token_id": 0,
    },
    "deberta": _RELATIVE,
    "deberta_v2": _RELATIVE | {"position_buckets": 4, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "modernbert": _SIZES
    | {
        "num_hidden_layers": 3, "local_attention": 6, "classifier_pooling": "mean", "cls_token_id": 1,
        "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2,
    },
}  # fmt: skip
# Our kind -> the Auto class, and what config.json has of the labels.
_LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
KINDS = {
    "classification": ("AutoModelForSequenceClassification", _LABELS),
    "multilabel": (
        "AutoModelForSequenceClassification",
        _LABELS | {"problem_type": "multi_label_classification"},
    ),
    "regression": ("AutoModelForSequenceClassification", {"num_labels": 1}),
    "tagging": ("AutoModelForTokenClassification", _LABELS),
    "span": ("AutoModelForQuestionAnswering", {}),
}
HIDDEN = {"roberta": "tanh", "electra": "gelu", "distilbert": "relu", "modernbert": "transform"}
"""Of a head of texts; "pooler" for the others. ModernBERT's heads of tokens have it too."""
TEXTS = ("classification", "multilabel", "regression")

LENGTHS = np.array([13, 7, 11])
REAL_BL = np.arange(13) < LENGTHS[:, None]
TOKENS_BL = np.where(REAL_BL, np.random.default_rng(0).integers(1, 41, (3, 13)), 0)


def theirs_of(model):
    """Logits [B, C] or [B, L, C] of real tokens."""
    with torch.no_grad():
        out = model.eval()(
            input_ids=torch.from_numpy(TOKENS_BL), attention_mask=torch.from_numpy(REAL_BL.astype(np.int64))
        )
    logits = out.logits if "logits" in out else torch.stack([out.start_logits, out.end_logits], -1)
    return at_real_tokens(logits.numpy())


def ours_of(config, params):
    ids_BL = TOKENS_BL.astype(np.int32)
    out = jax.jit(lambda p: inference.forward(config, p, ids_BL, np.zeros_like(ids_BL), REAL_BL))(params)
    if out.class_logits_BPC is None:
        return at_real_tokens(np.asarray(out.token_logits_BLC))
    assert out.token_logits_BLC is None
    return np.asarray(out.class_logits_BPC)[:, 0]


def at_real_tokens(logits):
    return logits[REAL_BL] if logits.ndim == 3 else logits


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.ptp(theirs) > 0.03  # other weights would give something else
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def build(family, kind):
    """A model of transformers whose weights are all random."""
    auto, labels = KINDS[kind]
    config = transformers.AutoConfig.for_model(FAMILIES[family].model_type, **SETTINGS[family], **labels)
    torch.manual_seed(7)
    model = getattr(transformers, auto).from_config(config, attn_implementation="eager")
    for name, weight in model.named_parameters():
        weight.data.normal_(0, 0.3)
        if "norm" in name.lower() and name.endswith("weight"):
            weight.data.add_(1)
    return model


def reopened(folder, kind):
    """What transformers makes of an export, without a word."""
    model, info = getattr(transformers, KINDS[kind][0]).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info.values()), info  # missing, unexpected, mismatched, error messages
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", SETTINGS)
def test_their_checkpoint_through_ours_and_back(family, kind, tmp_path):
    model = build(family, kind)
    theirs = theirs_of(model)
    model.save_pretrained(tmp_path / "theirs")
    config, params, report = load_hf(tmp_path / "theirs")
    assert report.unexpected == report.notes == ()
    labels = NAMES if kind not in ("regression", "span") else ()
    assert (config.head.kind, config.head.labels) == (kind, labels)
    reads_pooler = kind in ("classification", "multilabel", "regression") and family not in HIDDEN
    assert ("pooler" in params["bert"]) == (config.pooler != "none") == reads_pooler
    close(ours_of(config, params), theirs)

    report = save_hf(tmp_path / "ours", params, config=config, tokenizer=TOKENIZER)
    assert (report.architecture, report.left, report.poolerless) == (type(model).__name__, (), False)
    again = reopened(tmp_path / "ours", kind)
    close(theirs_of(again), theirs)
    assert type(again) is type(model)
    assert again.config.id2label == model.config.id2label
    assert again.config.label2id == model.config.label2id
    inferred = "regression" if kind == "regression" else None  # by transformers at the first loss
    assert again.config.problem_type == (model.config.problem_type or inferred)
    for key in (
        "classifier_dropout",
        *(("classifier_pooling",) if kind in TEXTS else ()),
        "classifier_dropout_prob",
        "seq_classif_dropout",
        "qa_dropout",
    ):
        if getattr(model.config, key, None) is not None:
            assert getattr(again.config, key) == getattr(model.config, key), key
    assert load_hf(tmp_path / "ours")[0] == config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", SETTINGS)
def test_our_model_opened_by_theirs(family, kind, tmp_path):
    labels = ("neg", "neu", "pos") if kind not in ("regression", "span") else ()
    hidden = HIDDEN.get(family, "pooler") if kind in TEXTS or family == "modernbert" else "pooler"
    head = HeadConfig(kind=kind, labels=labels, hidden=hidden, dropout_rate=0.25)
    pooler = {"deberta": "gelu", "deberta_v2": "tanh"}.get(family, CONFIGS[family].pooler)
    config = changed(
        CONFIGS[family],
        num_layers=3 if family == "modernbert" else 1,
        max_positions=13,
        head=head,
        pooler=pooler,
        relative__mask_decoder=False,
    )
    heads = FAMILIES[family].task(head).heads
    params = names.from_hf(drawn.weights(config, tuple(heads), seed=5), config)
    report = save_hf(tmp_path / "ours", params, config=config, tokenizer=TOKENIZER)
    assert report.left == report.ignored == ()
    model = reopened(tmp_path / "ours", kind)
    close(ours_of(config, params), theirs_of(model))
    expected = labels or tuple(f"LABEL_{i}" for i in range(head.outputs))
    assert tuple(model.config.id2label[i] for i in range(len(expected))) == expected
    assert len(model.config.id2label) == head.outputs


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_multiple_choice_head_is_left_aside_and_named(family, tmp_path):
    config = transformers.AutoConfig.for_model(FAMILIES[family].model_type, **SETTINGS[family])
    transformers.AutoModelForMultipleChoice.from_config(config).save_pretrained(tmp_path)
    found, params, report = load_hf(tmp_path)
    assert found.head == HeadConfig() and "task_head" not in params
    assert {"classifier.bias", "classifier.weight"} <= set(report.unexpected)
