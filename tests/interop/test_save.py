"""What an export becomes: its class, what that has no place for, and what no class of the family computes."""

import json

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import load_hf, load_tokenizer
from bert_jax.interop.save import save_hf
from tests.interop.small import CONFIGS, TOKENIZER, params_of, variant
from tests.text.published import WORDPIECE, write_said, write_wordpiece


@pytest.mark.parametrize(
    ("config", "heads", "architecture", "left"),
    [
        (CONFIGS["bert"], ("bert/pooler", "mlm_head", "pair_head"), "BertForPreTraining", ()),
        (CONFIGS["bert"], ("mlm_head",), "BertForMaskedLM", ()),
        (CONFIGS["bert"], ("bert/pooler", "mlm_head"), "BertForMaskedLM", ("bert/pooler",)),
        (CONFIGS["bert"], ("bert/pooler", "pair_head"), "BertForNextSentencePrediction", ()),
        (CONFIGS["bert"], ("bert/pooler",), "BertModel", ()),
        (CONFIGS["bert"], (), "BertModel", ()),
        (CONFIGS["roberta"], ("mlm_head",), "RobertaForMaskedLM", ()),
        (variant("roberta", pooler="tanh"), ("bert/pooler",), "RobertaModel", ()),
        (CONFIGS["albert"], ("bert/pooler", "mlm_head", "pair_head"), "AlbertForPreTraining", ()),
        (CONFIGS["albert"], ("mlm_head",), "AlbertForMaskedLM", ()),
        (CONFIGS["albert"], (), "AlbertModel", ()),
        (CONFIGS["electra"], ("rtd_head",), "ElectraForPreTraining", ()),
        (CONFIGS["electra"], ("mlm_head",), "ElectraForMaskedLM", ()),
        (CONFIGS["electra"], ("mlm_head", "rtd_head"), "ElectraForPreTraining", ("mlm_head",)),
        (CONFIGS["electra"], (), "ElectraModel", ()),
        (CONFIGS["distilbert"], ("mlm_head",), "DistilBertForMaskedLM", ()),
        (CONFIGS["distilbert"], (), "DistilBertModel", ()),
        (CONFIGS["deberta"], ("mlm_head",), "DebertaForMaskedLM", ()),
        (CONFIGS["deberta_v2"], (), "DebertaV2Model", ()),
        (variant("deberta_v2", pooler="gelu"), ("bert/pooler", "mlm_head"), "DebertaV2ForMaskedLM", ("bert/pooler",)),
    ],
)  # fmt: skip
def test_the_class_is_the_one_with_the_heads_that_are_there(config, heads, architecture, left, tmp_path):
    params = params_of(config, heads)
    report = save_hf(tmp_path / "a", params, config=config, tokenizer=TOKENIZER)
    assert (report.architecture, report.left) == (architecture, left)
    pooled = architecture in ("BertModel", "RobertaModel", "AlbertModel")
    assert report.poolerless == (pooled and "bert/pooler" not in heads)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["architectures"] == [architecture]
    _, found, loaded = load_hf(tmp_path / "a")
    assert names.heads_in(found) == tuple(head for head in names.heads_in(params) if head not in left)
    assert loaded.unexpected == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_that_no_class_of_the_family_has_are_left(family, tmp_path):
    """A sentence-pair head of a RoBERTa, the replaced-token head of a DeBERTa."""
    config = CONFIGS[family]
    params = params_of(config, ())
    known = {entry.head for entry in names.table(config)}
    foreign = {
        head: {"dense": {"kernel": np.ones((12, 2), np.float32)}}
        for head in ("pair_head", "rtd_head")
        if head not in known
    }
    report = save_hf(tmp_path / "a", {**params, **foreign}, config=config, tokenizer=TOKENIZER)
    assert report.left == tuple(foreign) != ()
    found = load_hf(tmp_path / "a")[1]
    jax.tree.map(np.testing.assert_array_equal, found, params)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_out_and_comes_back(family, tmp_path):
    config, params = CONFIGS[family], params_of(CONFIGS[family])
    report = save_hf(tmp_path / "a", params, config=config, tokenizer=TOKENIZER)
    assert (report.left, report.repeated) == ((), ())
    assert report.ignored == (("bert/embeddings/position",) if family.startswith("deberta") else ())
    found, found_params, loaded = load_hf(tmp_path / "a")
    assert found == config
    assert loaded.unexpected == ()
    assert jax.tree.structure(found_params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found_params, params)


def refusal(config, tmp_path, heads=None):
    with pytest.raises(UserError) as caught:
        save_hf(tmp_path / "a", params_of(config, heads), config=config, tokenizer=TOKENIZER)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (variant("bert", sharing="all"), "model.sharing='all' must be 'none' to be exported as 'bert'"),
        (variant("bert", embedding_size=8), "model.embedding_size=8 must be 0 to be exported as 'bert'"),
        (variant("bert", position_offset=2), "model.position_offset=2 must be 0 to be exported as 'bert'"),
        (variant("deberta", family="bert"), "type_vocab_size=0 must be a whole number > 0"),
        (
            variant("deberta", family="bert", type_vocab_size=2),
            "model.positions='disentangled' must be 'absolute' to be exported as 'bert'",
        ),
        (variant("bert", pooler="gelu"), "model.pooler='gelu' must be 'tanh' to be exported as 'bert'"),
        (variant("roberta", activation="gelu_tanh"), "hidden_act='gelu_tanh' must be 'gelu'"),
        (
            variant("roberta", position_offset=2),
            "model.position_offset=2 must be the tokenizer's padding id 0 + 1",
        ),
        (
            variant("albert", embedding_size=0),
            "model.embedding_size=0 must be > 0 to be exported as 'albert', which always projects",
        ),
        (
            variant("electra", embedding_size=12),
            "model.embedding_size=12 must be 0 to be exported as 'electra'",
        ),
        (variant("electra", activation="gelu_tanh"), "hidden_act='gelu_tanh' must be 'gelu'"),
        (
            variant("distilbert", type_vocab_size=2),
            "model.type_vocab_size=2 must be 0 to be exported as 'distilbert'",
        ),
        (
            variant("distilbert", norm__eps=1e-5),
            "model.norm.eps=1e-05 must be 1e-12 to be exported as 'distilbert'",
        ),
        (
            variant("deberta", relative__key_bias=True),
            "model.relative.key_bias=True must be False to be exported as 'deberta'",
        ),
        (
            variant("deberta", relative__projections="shared"),
            "model.relative.projections='shared' must be 'separate' to be exported as 'deberta'",
        ),
        (
            variant("deberta", relative__buckets=4),
            "model.relative.buckets=4 must be 0 to be exported as 'deberta'",
        ),
        (
            variant("deberta_v2", relative__key_bias=False),
            "model.relative.key_bias=False must be True to be exported as 'deberta_v2'",
        ),
    ],
)
def test_what_the_familys_models_do_not_compute_is_not_exported(config, message, tmp_path):
    said = refusal(config, tmp_path)
    assert message in said
    assert "model.family" in said or "tokenizer" in said  # what to do


def test_an_export_keeps_added_tokens_and_casing(tmp_path):
    """Of a published folder: the exported one gives the same ids and holds the same entries."""
    source = tmp_path / "source"
    source.mkdir()
    write_wordpiece(source)
    size = len(WORDPIECE)
    write_said(
        source,
        config={"model_type": "bert"},
        tokenizer_config={"do_lower_case": False, "strip_accents": True},
        added_tokens={"<chem>": size, "Ibuprofen": size + 1},
    )
    tokenizer = load_tokenizer(source)
    config = variant("bert", vocab_size=size + 2)
    save_hf(tmp_path / "out", params_of(config), config=config, tokenizer=tokenizer)
    text = "the Ibuprofen café <chem> The"
    expected = tokenizer.encode(text, special=True)
    assert {size, size + 1} < set(expected) and WORDPIECE.index("cafe") in expected
    assert load_tokenizer(tmp_path / "out").encode(text, special=True) == expected
    (tmp_path / "out" / "tokenizer.json").unlink()
    assert load_tokenizer(tmp_path / "out").encode(text, special=True) == expected
