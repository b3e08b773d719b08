"""Distillation losses against plain NumPy, and against the formulas of the originals in PyTorch where it is there."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.attention import Internals
from bert_jax.objectives import distillation, hidden_states, relations, soft_targets
from bert_jax.objectives.distillation import Compared
from bert_jax.objectives.sums import Objective
from bert_jax.objectives.tokens import pairs_of_tokens, real_tokens

B, L, H, D, V = 2, 7, 4, 8, 11
# Two examples and padding; one example and padding.
PACK_IDS = np.array([[1, 1, 1, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 0]], np.int32)
BATCH = {"tokens_BL": np.zeros((B, L), np.int32), "pack_ids_BL": PACK_IDS}
rng = np.random.default_rng(0)


def drawn(*shape, scale=1.0):
    return rng.normal(size=shape).astype(np.float32) * np.float32(scale)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def examples():
    """(row, places of the tokens of one example)."""
    for row in range(B):
        for number in range(1, PACK_IDS[row].max() + 1):
            yield row, np.flatnonzero(PACK_IDS[row] == number)


def mean(loss, compared, batch=BATCH):
    return float(loss.sum(compared, batch) / loss.weight(batch))


def output(**fields):
    return types.SimpleNamespace(**fields)


# Predictions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_soft_classes_are_the_divergence_at_a_temperature(temperature):
    student, one, two = drawn(5, V, scale=3), drawn(5, V, scale=3), drawn(5, V, scale=3)
    found = soft_targets.soft_classes(student, [one, two], temperature=temperature)
    p = (softmax(one / temperature) + softmax(two / temperature)) / 2
    q = softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(soft_targets.soft_classes(one, [one], temperature=temperature)).max() < 1e-5
    # The gradient by a logit is T (q - p), which shrinks as 1 / T does.
    gradient = jax.grad(lambda z: soft_targets.soft_classes(z, [one, two], temperature=temperature).sum())
    np.testing.assert_allclose(gradient(student), temperature * (q - p), atol=1e-5)


def test_a_class_the_teacher_rules_out_adds_nothing_and_no_nan():
    teacher = np.array([[0.0, -1e30, 1.0]], np.float32)
    student = np.array([[1.0, -1e30, 0.5]], np.float32)
    found = soft_targets.soft_classes(student, [teacher], temperature=2.0)
    alone = soft_targets.soft_classes(student[:, ::2], [teacher[:, ::2]], temperature=2.0)
    np.testing.assert_allclose(found, alone, rtol=1e-5)


@pytest.mark.parametrize("k", [3, V])
def test_the_largest_logits_are_renormalised(k):
    student, teacher = drawn(5, V, scale=2), drawn(5, V, scale=2)
    ids = np.argsort(-teacher, axis=-1)[:, :k]
    values = np.take_along_axis(teacher, ids, -1)
    found = soft_targets.soft_top(student, values, ids, temperature=2.0)
    p, q = softmax(values / 2), np.take_along_axis(softmax(student / 2), ids, -1)
    np.testing.assert_allclose(found, 4 * (p * np.log(p / q)).sum(-1), rtol=1e-4)
    if k == V:
        whole = soft_targets.soft_classes(student, [teacher], temperature=2.0)
        np.testing.assert_allclose(found, whole, rtol=1e-4)


def test_soft_labels_and_numbers():
    student, one, two = drawn(5, 3), drawn(5, 3), drawn(5, 3)
    p = (1 / (1 + np.exp(-one / 2)) + 1 / (1 + np.exp(-two / 2))) / 2
    q = 1 / (1 + np.exp(-student / 2))
    expected = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(-1)
    found = soft_targets.soft_labels(student, [one, two], temperature=2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    found = soft_targets.soft_numbers(student[:, :1], [one[:, :1], two[:, :1]])
    np.testing.assert_allclose(found, (student[:, 0] - (one[:, 0] + two[:, 0]) / 2) ** 2, rtol=1e-5)


def test_masked_tokens_or_all_of_them():
    weights = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    batch = {**BATCH, "mlm_weights_BM": weights}
    compared = Compared(output(mlm_logits_BMV=drawn(B, 3, V)), [output(mlm_logits_BMV=drawn(B, 3, V))], None)
    each = soft_targets.soft_classes(
        compared.student.mlm_logits_BMV, [compared.teachers[0].mlm_logits_BMV], temperature=2.0
    )
    loss = distillation.soft("mlm", 5.0, temperature=2.0)
    assert (loss.name, loss.scale) == ("soft_loss", 5.0)
    assert mean(loss, compared, batch) == pytest.approx(float((each * weights).sum() / 3), rel=1e-5)
    compared = Compared(output(mlm_logits_BMV=drawn(B, L, V)), [output(mlm_logits_BMV=drawn(B, L, V))], None)
    each = np.asarray(
        soft_targets.soft_classes(
            compared.student.mlm_logits_BMV, [compared.teachers[0].mlm_logits_BMV], temperature=2.0
        )
    )
    loss = distillation.soft("mlm", 5.0, temperature=2.0, every_token=True)
    assert mean(loss, compared, batch) == pytest.approx(each[PACK_IDS > 0].mean(), rel=1e-5)


def test_the_span_of_each_window_is_a_softmax_over_its_own_tokens():
    weights = np.array([[1, 1], [1, 0]], np.float32)
    batch = {**BATCH, "first_BP": np.array([[0, 3], [0, 0]], np.int32), "weights_BP": weights}
    ours, theirs = drawn(B, L, 2), drawn(B, L, 2)
    compared = Compared(output(token_logits_BLC=ours), [output(token_logits_BLC=theirs)], None)
    expected = []
    for row, places in examples():
        for side in (0, 1):
            p, q = softmax(theirs[row, places, side] / 3), softmax(ours[row, places, side] / 3)
            expected.append(9 * (p * np.log(p / q)).sum())
    loss = distillation.soft("span", 1.0, temperature=3.0)
    assert mean(loss, compared, batch) == pytest.approx(np.mean(expected), rel=1e-4)


def test_tags_texts_and_vectors_have_the_weights_of_their_heads():
    batch = {
        **BATCH,
        "tags_BL": np.where(np.arange(L) % 2, 1, -1)[None].repeat(B, 0),
        "weights_BP": np.array([[1, 1], [1, 0]], np.float32),
    }
    ours, theirs = drawn(B, L, 5), drawn(B, L, 5)
    compared = Compared(output(token_logits_BLC=ours), [output(token_logits_BLC=theirs)], None)
    each = np.asarray(soft_targets.soft_classes(ours, [theirs], temperature=1.0))
    loss = distillation.soft("tagging", 1.0, temperature=1.0)
    assert mean(loss, compared, batch) == pytest.approx(each[:, 1::2].mean(), rel=1e-5)

    ours, theirs = drawn(B, 2, 5), drawn(B, 2, 5)
    there = batch["weights_BP"] > 0
    compared = Compared(output(class_logits_BPC=ours), [output(class_logits_BPC=theirs)], None)
    each = np.asarray(soft_targets.soft_classes(ours, [theirs], temperature=1.0))
    loss = distillation.soft("classification", 1.0, temperature=1.0)
    assert mean(loss, compared, batch) == pytest.approx(each[there].mean(), rel=1e-5)
    quirk = distillation.soft("classification", 1.0, temperature=1.0, divide_by_classes=True)
    assert mean(quirk, compared, batch) == pytest.approx(each[there].mean() / 5, rel=1e-5)

    compared = Compared(output(embeddings_BPD=ours), [output(embeddings_BPD=theirs)], None)
    cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    loss = distillation.soft("embedding", 1.0, temperature=1.0)
    assert mean(loss, compared, batch) == pytest.approx(1 - cosines[there].mean(), rel=1e-4)
    loss = distillation.soft("embedding", 1.0, temperature=1.0, embedding="mse")
    assert mean(loss, compared, batch) == pytest.approx(((ours - theirs) ** 2)[there].mean(), rel=1e-5)


@pytest.mark.parametrize("hard", [0.0, 0.25])
def test_the_students_own_loss_has_its_share(hard):
    one = jnp.float32(1)
    base = Objective(
        forward=None,
        sums=lambda output, batch: {"own_loss": (6 * one, 3 * one)},
        weights=lambda batch: {"own_loss": 3 * one},
        terms={"own_loss": 2.0},
    )
    loss = distillation.Loss("soft_loss", 5.0, lambda compared, batch: 8 * one, lambda batch: 4 * one)
    objective = distillation.distillation(
        base,
        [loss],
        student=lambda params, batch, dropout_key: output(),
        teachers=lambda constants, batch: [output()],
        hard=hard,
        every_token=False,
        scores_base=True,
    )
    value, sums = objective.loss({}, {}, BATCH, None, objective.weights(BATCH))
    assert float(value) == hard * 2.0 * (6 / 3) + 5.0 * (8 / 4)
    assert sums.keys() == {"own_loss", "soft_loss"}


# Hidden states -------------------------------------------------------------------------------------------


def test_hidden_states_are_compared_at_real_tokens():
    ours, theirs = drawn(B, L, D), drawn(B, L, D)
    compared = Compared(output(hidden_BLD=ours), [output(hidden_BLD=theirs)], None)
    cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    found = mean(distillation.hidden_cosine(1.0), compared)
    assert found == pytest.approx(1 - cosines[PACK_IDS > 0].mean(), rel=1e-4)


@pytest.mark.parametrize("padding", [False, True])
def test_states_are_projected_and_summed_over_layers(padding):
    width, layers = 12, 3
    ours, theirs = drawn(layers, B, L, D), drawn(5, B, L, width)
    projection = {"kernel": drawn(D, width), "bias": drawn(width)}
    pairs = [(0, 0), (1, 2), (2, 4)]
    compared = Compared(output(hidden_states=list(ours)), [output(hidden_states=list(theirs))], projection)
    errors = [(ours[i] @ projection["kernel"] + projection["bias"] - theirs[j]) ** 2 for i, j in pairs]
    counted = np.ones_like(PACK_IDS, bool) if padding else PACK_IDS > 0
    expected = sum(error[counted].mean() for error in errors)
    found = mean(distillation.hidden_mse(1.0, pairs, padding=padding), compared)
    assert found == pytest.approx(expected, rel=1e-4)


# Attention -----------------------------------------------------------------------------------------------


def test_scores_are_compared_within_examples():
    ours, theirs = drawn(B, H, L, L), drawn(B, H, L, L)
    errors = [(ours[b][:, t][..., t] - theirs[b][:, t][..., t]) ** 2 for b, t in examples()]
    pairs = sum(len(places) ** 2 for _, places in examples())
    expected = sum(error.sum() for error in errors) / H / pairs
    compared = Compared(
        output(internals={0: Internals(scores_BHLT=ours)}),
        [output(internals={2: Internals(scores_BHLT=theirs)})],
        None,
    )
    assert mean(distillation.attention_mse(1.0, [(0, 2)]), compared) == pytest.approx(expected, rel=1e-5)


def test_the_quirk_counts_padding_as_the_released_code_does():
    """Scores with the mask's -10,000 added, set to zero where they are below -100, and a mean over everything."""
    ours, theirs = drawn(B, H, L, L), drawn(B, H, L, L)
    pack_ids = (PACK_IDS > 0).astype(np.int32)  # it does not pack
    masked = [
        np.where(scores + np.where(pack_ids, 0, -10_000)[:, None, None] <= -100, 0, scores)
        for scores in (ours, theirs)
    ]
    compared = Compared(
        output(internals={0: Internals(scores_BHLT=ours)}),
        [output(internals={0: Internals(scores_BHLT=theirs)})],
        None,
    )
    loss = distillation.attention_mse(1.0, [(0, 0)], padding=True)
    found = mean(loss, compared, {**BATCH, "pack_ids_BL": pack_ids})
    assert found == pytest.approx(((masked[0] - masked[1]) ** 2).mean(), rel=1e-5)


def test_attention_is_compared_query_by_query():
    pairs = np.asarray(pairs_of_tokens(BATCH))[:, None]
    ours, theirs = (softmax(np.where(pairs, drawn(B, H, L, L), -1e30)).astype(np.float32) for _ in "ab")
    expected = []
    for row, places in examples():
        p, q = theirs[row][:, places][..., places], ours[row][:, places][..., places]
        expected += list((p * np.log(p / q)).sum(-1).mean(0))
    compared = Compared(
        output(internals={1: Internals(probabilities_BHLT=ours)}),
        [output(internals={3: Internals(probabilities_BHLT=theirs)})],
        None,
    )
    assert mean(distillation.attention_kl(1.0, (1, 3)), compared) == pytest.approx(
        np.mean(expected), rel=1e-4
    )


def plain_relation(x_LHK, heads):
    """softmax(X X^T / sqrt(d)) of one example, head by head."""
    x = x_LHK.reshape(len(x_LHK), -1)
    width = x.shape[1] // heads
    parts = [x[:, a * width : (a + 1) * width] for a in range(heads)]
    return np.stack([softmax(part @ part.T / np.sqrt(width)) for part in parts])


@pytest.mark.parametrize("heads", [1, 4, 8])
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_relations_compare_models_of_other_widths_and_heads(name, heads):
    ours, theirs = drawn(B, L, 4, 2), drawn(B, L, 3, 8)  # widths of 8 and 24
    expected = []
    for row, places in examples():
        p = plain_relation(theirs[row, places], heads)
        q = plain_relation(ours[row, places], heads)
        expected += list((p * np.log(p / q)).sum(-1).mean(0))
    field = {"query": "queries_BLHK", "key": "keys_BTHK", "value": "values_BTHK"}[name]
    compared = Compared(
        output(internals={0: Internals(**{field: ours})}),
        [output(internals={5: Internals(**{field: theirs})})],
        None,
    )
    loss = distillation.relation(name, 1.0, (0, 5), heads=heads)
    assert mean(loss, compared) == pytest.approx(np.mean(expected), rel=1e-4)


def test_no_gradient_comes_from_padding_and_none_is_nan():
    ours, theirs = jnp.asarray(drawn(B, L, 4, 2)), drawn(B, L, 4, 2)

    def total(x):
        found = relations.relation_divergence(x, theirs, pairs_of_tokens(BATCH), heads=2)
        return jnp.sum(found * real_tokens(BATCH))

    gradient = np.asarray(jax.grad(total)(ours))
    assert np.isfinite(gradient).all() and np.abs(gradient[PACK_IDS > 0]).max() > 0
    np.testing.assert_array_equal(gradient[PACK_IDS == 0], 0)


# The formulas of the originals ---------------------------------------------------------------------------


def test_distilberts_losses_in_torch():
    torch = pytest.importorskip("torch", reason="the originals are in PyTorch")
    ours, theirs = drawn(B, L, V, scale=2), drawn(B, L, V, scale=2)
    real = PACK_IDS > 0
    divergence = torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(torch.from_numpy(ours[real]) / 2, -1),
        torch.softmax(torch.from_numpy(theirs[real]) / 2, -1),
    )
    batch = {**BATCH, "mlm_weights_BM": np.ones((B, 1), np.float32)}
    compared = Compared(output(mlm_logits_BMV=ours), [output(mlm_logits_BMV=theirs)], None)
    found = mean(distillation.soft("mlm", 5.0, temperature=2.0, every_token=True), compared, batch)
    assert found == pytest.approx(4 * float(divergence), rel=1e-5)
    states, their_states = drawn(B, L, D), drawn(B, L, D)
    cosine = torch.nn.CosineEmbeddingLoss()(
        torch.from_numpy(states[real]), torch.from_numpy(their_states[real]), torch.ones(int(real.sum()))
    )
    compared = Compared(output(hidden_BLD=states), [output(hidden_BLD=their_states)], None)
    assert mean(distillation.hidden_cosine(1.0), compared) == pytest.approx(float(cosine), rel=1e-5)


def test_tinyberts_soft_cross_entropy_has_the_gradient_of_the_divergence():
    torch = pytest.importorskip("torch", reason="the originals are in PyTorch")
    ours, theirs = drawn(6, 5), drawn(6, 5)
    z = torch.from_numpy(ours).requires_grad_()
    (-torch.softmax(torch.from_numpy(theirs), -1) * torch.log_softmax(z, -1)).mean().backward()
    batch = {"weights_BP": np.ones((6, 1), np.float32)}

    def loss(x):
        compared = Compared(
            output(class_logits_BPC=x[:, None]), [output(class_logits_BPC=theirs[:, None])], None
        )
        quirk = distillation.soft("classification", 1.0, temperature=1.0, divide_by_classes=True)
        return quirk.sum(compared, batch) / quirk.weight(batch)

    np.testing.assert_allclose(jax.grad(loss)(ours), z.grad.numpy(), atol=1e-6)


def test_vectors_are_averaged_as_directions():
    one, two = drawn(3, D), drawn(3, D)
    units = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (one, two)]
    np.testing.assert_allclose(hidden_states.mean_vector([one, two]), (units[0] + units[1]) / 2, atol=1e-6)


def test_every_loss_has_a_panel_among_the_curves_and_a_row_in_the_table():
    from bert_jax.inspection.curves import _PANELS
    from bert_jax.inspection.ending import _SHOWN

    pair = (0, 0)
    losses = [
        distillation.soft("mlm", 1.0, temperature=1.0),
        distillation.hidden_cosine(1.0),
        distillation.hidden_mse(1.0, [pair]),
        distillation.attention_mse(1.0, [pair]),
        distillation.attention_kl(1.0, pair),
        *(distillation.relation(name, 1.0, pair, heads=1) for name in ("query", "key", "value")),
    ]
    assert {loss.name for loss in losses} <= set(_PANELS) and {loss.name for loss in losses} <= set(_SHOWN)
