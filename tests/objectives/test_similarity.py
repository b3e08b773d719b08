"""Losses of pairs of vectors: against NumPy, against sentence-transformers' formulas, and over devices."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.objectives.similarity import similarity_objective, similarity_sums

ROWS, PLACES, WIDTH, SCALE = 8, 6, 5, 7.0
TERMS = {"cosine": "mse", "cosent": "cosent_loss", "contrastive": "partner_loss"}


def drawn(seed=0):
    """A batch of 8 rows of up to 3 pairs, some of which are not there, with numbers from 0 to 5."""
    rng = np.random.default_rng(seed)
    is_there_BU = rng.random((ROWS, PLACES // 2)) < 0.7
    weights_BP = np.repeat(is_there_BU, 2, axis=1).astype(np.float32)
    targets_BP = np.repeat(rng.integers(0, 6, is_there_BU.shape), 2, axis=1).astype(np.float32)
    numbers_BP = np.where(weights_BP > 0, np.cumsum(weights_BP).reshape(weights_BP.shape) - 1, -1)
    batch = {
        "weights_BP": jnp.asarray(weights_BP),
        "targets_BP": jnp.asarray(targets_BP),
        "features_BP": jnp.asarray(numbers_BP, jnp.int32),
    }
    embeddings_BPD = rng.normal(size=(ROWS, PLACES, WIDTH)).astype(np.float32)
    return jnp.asarray(embeddings_BPD), batch


def pairs_of(embeddings_BPD, batch):
    """(texts [N, D], partners [N, D], targets [N]) of the pairs that are there, float64."""
    is_there_BU = np.asarray(batch["weights_BP"])[:, 0::2] > 0
    x_BPD = np.asarray(embeddings_BPD, np.float64)
    targets_BU = np.asarray(batch["targets_BP"], np.float64)[:, 0::2]
    return x_BPD[:, 0::2][is_there_BU], x_BPD[:, 1::2][is_there_BU], targets_BU[is_there_BU]


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def oracle(loss, embeddings_BPD, batch):
    """The mean that a step reports, written out pair by pair."""
    texts_ND, partners_ND, targets_N = pairs_of(embeddings_BPD, batch)
    found_N = [cosine(a, b) for a, b in zip(texts_ND, partners_ND, strict=True)]
    count = len(found_N)
    if loss == "cosine":
        return np.mean([(c - t / 5) ** 2 for c, t in zip(found_N, targets_N, strict=True)])
    if loss == "cosent":
        terms = [
            np.exp(SCALE * (found_N[j] - found_N[i]))
            for i in range(count)
            for j in range(count)
            if targets_N[i] > targets_N[j]
        ]
        return np.log(1 + sum(terms))
    losses = []
    for i in range(count):
        scores = np.array([np.exp(SCALE * cosine(texts_ND[i], partner)) for partner in partners_ND])
        losses.append(-np.log(scores[i] / scores.sum()))
    return np.mean(losses)


def sums_of(loss, embeddings_BPD, batch):
    return similarity_sums(embeddings_BPD, batch, loss=loss, scale=SCALE, low=0.0, high=5.0)


@pytest.mark.parametrize("loss", TERMS)
def test_a_loss_is_numpys_over_the_pairs_that_are_there(loss):
    embeddings_BPD, batch = drawn()
    total, weight = sums_of(loss, embeddings_BPD, batch)[TERMS[loss]]
    count = float(batch["weights_BP"].sum()) / 2
    assert float(weight) == count and 0 < count < ROWS * PLACES / 2
    assert float(total / weight) == pytest.approx(oracle(loss, embeddings_BPD, batch), rel=1e-5)


@pytest.mark.parametrize("loss", TERMS)
def test_what_is_in_empty_places_does_not_matter(loss):
    embeddings_BPD, batch = drawn()

    def value(x_BPD):
        return sums_of(loss, x_BPD, batch)[TERMS[loss]][0]

    is_there_BP1 = batch["weights_BP"][..., None] > 0
    other_BPD = jnp.where(is_there_BP1, embeddings_BPD, 0)
    (ours, gradient), theirs = jax.value_and_grad(value)(other_BPD), value(embeddings_BPD)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-3
    assert not np.where(is_there_BP1, 0, gradient).any()


@pytest.mark.parametrize("loss", TERMS)
@pytest.mark.parametrize("case", ["zero vectors", "no pair", "one pair", "equal vectors"])
def test_gradients_are_finite_where_a_formula_is_not(loss, case):
    embeddings_BPD, batch = drawn()
    if case == "zero vectors":
        embeddings_BPD = embeddings_BPD.at[:, 0].set(0)
    if case == "equal vectors":
        embeddings_BPD = jnp.ones_like(embeddings_BPD)
    if case in ("no pair", "one pair"):
        weights_BP = jnp.zeros_like(batch["weights_BP"])
        batch |= {"weights_BP": weights_BP if case == "no pair" else weights_BP.at[0, :2].set(1)}

    value, gradient = jax.value_and_grad(lambda x: sums_of(loss, x, batch)[TERMS[loss]][0])(embeddings_BPD)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert case != "no pair" or (value == 0 and not gradient.any())


def test_the_share_of_partners_found_is_numpys():
    embeddings_BPD, batch = drawn()
    hits, weight = sums_of("contrastive", embeddings_BPD, batch)["partner_accuracy"]
    texts_ND, partners_ND, _ = pairs_of(embeddings_BPD, batch)
    nearest_N = [int(np.argmax([cosine(text, partner) for partner in partners_ND])) for text in texts_ND]
    assert float(hits) == sum(found == number for number, found in enumerate(nearest_N))
    assert float(weight) == len(texts_ND)


@pytest.mark.parametrize("loss", TERMS)
def test_a_loss_and_its_gradient_are_those_of_sentence_transformers(loss):
    """The formulas of losses/CosineSimilarityLoss.py, CoSENTLoss.py and MultipleNegativesRankingLoss.py."""
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    embeddings_BPD, batch = drawn()
    texts_ND, partners_ND, targets_N = pairs_of(embeddings_BPD, batch)
    a_ND, b_ND, labels_N = (torch.tensor(x) for x in (texts_ND, partners_ND, targets_N))
    a_ND.requires_grad_()
    if loss == "cosine":
        theirs = torch.nn.MSELoss()(torch.cosine_similarity(a_ND, b_ND), labels_N / 5)
    elif loss == "cosent":
        scores_N = torch.cosine_similarity(a_ND, b_ND) * SCALE
        scores_NN = scores_N[:, None] - scores_N[None, :]
        is_less_NN = (labels_N[:, None] < labels_N[None, :]).to(scores_NN.dtype)
        scores_NN = scores_NN - (1 - is_less_NN) * 1e12
        theirs = torch.logsumexp(torch.cat((torch.zeros(1), scores_NN.view(-1))), dim=0)
    else:
        unit_a, unit_b = (torch.nn.functional.normalize(x, dim=1) for x in (a_ND, b_ND))
        theirs = torch.nn.CrossEntropyLoss()(unit_a @ unit_b.T * SCALE, torch.arange(len(a_ND)))
    theirs.backward()

    def mean(x_BPD):
        total, weight = sums_of(loss, x_BPD, batch)[TERMS[loss]]
        return total / weight

    ours, gradient_BPD = jax.value_and_grad(mean)(embeddings_BPD)
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-5)
    is_there_BU = np.asarray(batch["weights_BP"])[:, 0::2] > 0
    np.testing.assert_allclose(gradient_BPD[:, 0::2][is_there_BU], a_ND.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", TERMS)
def test_rows_over_eight_devices_have_the_loss_and_gradient_of_one(loss):
    embeddings_BPD, batch = drawn()

    def step(x_BPD, batch):
        return jax.value_and_grad(lambda x: sums_of(loss, x, batch)[TERMS[loss]][0])(x_BPD)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    alone, gradient_alone = jax.jit(step)(embeddings_BPD, batch)
    shared, gradient = jax.jit(step, in_shardings=rows)(*jax.device_put((embeddings_BPD, batch), rows))
    assert float(shared) == pytest.approx(float(alone), rel=1e-6)
    np.testing.assert_allclose(gradient, gradient_alone, rtol=1e-5, atol=1e-6)


def test_predictions_are_cosines_by_the_number_of_their_pair():
    embeddings_BPD, batch = drawn()
    objective = similarity_objective(lambda *_, **__: None, loss="cosine", scale=1.0)
    found = objective.predictions(types.SimpleNamespace(embeddings_BPD=embeddings_BPD), batch)
    is_there = np.asarray(found["features_BP"]) >= 0
    assert found["features_BP"][is_there].tolist() == list(range(int(is_there.sum())))
    texts_ND, partners_ND, _ = pairs_of(embeddings_BPD, batch)
    expected = [cosine(a, b) for a, b in zip(texts_ND, partners_ND, strict=True)]
    np.testing.assert_allclose(found["cosines_BP"][is_there], expected, rtol=1e-5)
