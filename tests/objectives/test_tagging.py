"""The loss of tagged words against NumPy; predictions as they come."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives.tagging import tag_sums, tagging_objective


def test_words_with_a_tag_count_and_no_other_token():
    rng = np.random.default_rng(0)
    logits_BLC = rng.normal(size=(2, 6, 4)).astype(np.float32)
    tags_BL = np.array([[-1, 2, -1, 0, 3, -1], [-1, 1, 1, -1, -1, -1]], np.int32)
    words = np.argwhere(tags_BL >= 0)
    loss = hits = 0.0
    for b, i in words:
        scores = logits_BLC[b, i].astype(np.float64)
        loss += np.log(np.exp(scores).sum()) - scores[tags_BL[b, i]]
        hits += scores.argmax() == tags_BL[b, i]
    batch = {"tags_BL": jnp.asarray(tags_BL)}
    sums = tag_sums(jnp.asarray(logits_BLC), batch)
    assert [float(x) for x in sums["token_loss"]] == pytest.approx([loss, 5], rel=1e-6)
    assert [float(x) for x in sums["token_accuracy"]] == [hits, 5]
    objective = tagging_objective(lambda *_, **__: None)
    assert {name: float(weight) for name, weight in objective.weights(batch).items()} == {"token_loss": 5}


def test_predictions_are_the_best_tags_and_scores_that_are_not_finite_have_none():
    logits_BLC = jnp.array([[[0.0, 2.0], [1.0, jnp.nan], [jnp.inf, 0.0], [3.0, -1.0]]])
    batch = {"words_BL": jnp.array([[-1, 0, 1, 2]])}
    output = types.SimpleNamespace(token_logits_BLC=logits_BLC)
    found = tagging_objective(lambda *_, **__: None).predictions(output, batch)
    assert found["tags_BL"].tolist() == [[1, -1, -1, 0]] and found["tags_BL"].dtype == jnp.int32
    assert found["words_BL"].tolist() == [[-1, 0, 1, 2]]
