"""Losses of pretraining, of tasks and of distillation."""

from tests.mutations.definition import Break

_SUMS, _OBJECTIVES_TESTS = "objectives/sums.py", "objectives/test_objectives.py"
_SPAN, _SPAN_TESTS = "objectives/span.py", "objectives/test_span.py"
_SIMILARITY, _SIMILARITY_TESTS = "objectives/similarity.py", "objectives/test_similarity.py"
_SOFT, _RELATIONS = "objectives/soft_targets.py", "objectives/relations.py"
_DISTILLATION, _DISTILLATION_TESTS = "objectives/distillation.py", "objectives/test_distillation.py"

BREAKS = (
    # Losses as sums
    Break(
        "a loss is divided by the weight of its own part of the batch",
        _SUMS,
        "divide(sums[term][0], weights[term])",
        "divide(*sums[term])",
        f"{_OBJECTIVES_TESTS}::test_the_weights_may_be_those_of_a_larger_batch",
    ),
    Break(
        "slots that are not in use have a loss",
        _SUMS,
        "(jnp.sum((log_sum_X - target_X) * weights_X), weight)",
        "(jnp.sum(log_sum_X - target_X), weight)",
        f"{_OBJECTIVES_TESTS}::test_cross_entropy_and_accuracy_are_numpys",
    ),
    Break(
        "no weight divides by zero",
        _SUMS,
        "total / jnp.where(weight > 0, weight, 1), 0)",
        "total / weight, 0)",
        f"{_OBJECTIVES_TESTS}::test_no_weight_means_no_loss_and_no_gradient",
    ),
    # Losses of tasks
    Break(
        "the first class of words is not learnt",
        "objectives/tagging.py",
        "weights_BL = (tags_BL >= 0)",
        "weights_BL = (tags_BL > 0)",
        "objectives/test_tagging.py::test_words_with_a_tag_count_and_no_other_token",
    ),
    Break(
        "tags are weighed by tokens",
        "objectives/tagging.py",
        'jnp.sum(batch["tags_BL"] >= 0)',
        'jnp.sum(batch["tags_BL"] >= -1)',
        "objectives/test_tagging.py::test_words_with_a_tag_count_and_no_other_token",
    ),
    Break(
        "a window's softmax is over the tokens of the one before",
        _SPAN,
        'jnp.arange(1, batch["first_BP"].shape[1] + 1,',
        'jnp.arange(0, batch["first_BP"].shape[1],',
        f"{_SPAN_TESTS}::test_each_window_is_a_softmax_over_its_own_tokens",
    ),
    Break(
        "the loss of a span is a sum of both",
        _SPAN,
        'terms={"start_loss": 0.5, "end_loss": 0.5}',
        'terms={"start_loss": 1.0, "end_loss": 1.0}',
        f"{_SPAN_TESTS}::test_the_loss_is_the_mean_of_both_and_its_gradient_is_softmax_minus_one_hot",
    ),
    Break(
        "less alike pairs are to be nearer",
        _SIMILARITY,
        "(targets_X[:, None] > targets_X[None])",
        "(targets_X[:, None] < targets_X[None])",
        f"{_SIMILARITY_TESTS}::test_a_loss_is_numpys_over_the_pairs_that_are_there",
    ),
    Break(
        "empty places are among the partners",
        _SIMILARITY,
        "jnp.where(weights_X[None] > 0, logits_XY, _NEVER)",
        "jnp.where(weights_X[None] >= 0, logits_XY, _NEVER)",
        f"{_SIMILARITY_TESTS}::test_a_loss_is_numpys_over_the_pairs_that_are_there",
    ),
    Break(
        "the discriminator learns of padding",
        "objectives/electra.py",
        '"rtd_loss": (jnp.sum(loss_BL * counted_BL), tokens)',
        '"rtd_loss": (jnp.sum(loss_BL), tokens)',
        "objectives/test_electra.py::test_the_sums_are_numpys",
    ),
    Break(
        "the discriminator's loss has the weight 1",
        "objectives/electra.py",
        '"rtd_loss": weight}',
        '"rtd_loss": 1.0}',
        "objectives/test_electra.py::test_the_loss_is_mlm_plus_fifty_times_rtd",
    ),
    # Distillation
    Break(
        "the divergence is of the student from the teacher",
        _SOFT,
        "kl(_mean_of_logs(log_ps), log_q_XC)",
        "kl(log_q_XC, _mean_of_logs(log_ps))",
        f"{_DISTILLATION_TESTS}::test_soft_classes_are_the_divergence_at_a_temperature",
    ),
    Break(
        "the square of the temperature is lost",
        _SOFT,
        "temperature**2 * kl(_mean_of_logs(log_ps), log_q_XC)",
        "kl(_mean_of_logs(log_ps), log_q_XC)",
        f"{_DISTILLATION_TESTS}::test_soft_classes_are_the_divergence_at_a_temperature",
    ),
    Break(
        "the square of the temperature is lost where the largest logits are known",
        _SOFT,
        "temperature**2 * kl(log_p_XK,",
        "kl(log_p_XK,",
        f"{_DISTILLATION_TESTS}::test_the_largest_logits_are_renormalised",
    ),
    Break(
        "teachers are averaged by their logarithms",
        _SOFT,
        "jax.nn.logsumexp(jnp.stack(log_ps), axis=0) - jnp.log(jnp.float32(len(log_ps)))",
        "jnp.mean(jnp.stack(log_ps), axis=0)",
        f"{_DISTILLATION_TESTS}::test_soft_classes_are_the_divergence_at_a_temperature",
    ),
    Break(
        "labels that the teacher is unsure of cost a perfect student",
        _SOFT,
        "jnp.mean(cross_XC - entropy_XC, axis=-1)",
        "jnp.mean(cross_XC, axis=-1)",
        f"{_DISTILLATION_TESTS}::test_soft_labels_and_numbers",
    ),
    Break(
        "relations are divided by the width",
        _RELATIONS,
        "x_BLAK * width**-0.5",
        "x_BLAK * width**-1.0",
        f"{_DISTILLATION_TESTS}::test_relations_compare_models_of_other_widths_and_heads",
    ),
    Break(
        "the divergence of relations is of the student from the teacher",
        _RELATIONS,
        "kl(log_p_BALT, log_q_BALT)",
        "kl(log_q_BALT, log_p_BALT)",
        f"{_DISTILLATION_TESTS}::test_relations_compare_models_of_other_widths_and_heads",
    ),
    Break(
        "the divergence of attention is of the student from the teacher",
        _RELATIONS,
        "kl(log_p_BHLT, log_q_BHLT)",
        "kl(log_q_BHLT, log_p_BHLT)",
        f"{_DISTILLATION_TESTS}::test_attention_is_compared_query_by_query",
    ),
    Break(
        "attention is compared across examples",
        _RELATIONS,
        "jnp.where(pairs_BLT[:, None], errors_BHLT, 0)",
        "errors_BHLT",
        f"{_DISTILLATION_TESTS}::test_scores_are_compared_within_examples",
    ),
    Break(
        "states of padding are compared",
        _DISTILLATION,
        "jnp.sum(distance_BL * real_tokens(batch))",
        "jnp.sum(distance_BL)",
        f"{_DISTILLATION_TESTS}::test_hidden_states_are_compared_at_real_tokens",
    ),
    Break(
        "the projection has no bias",
        "objectives/hidden_states.py",
        'return y_XD + projection["bias"]',
        'return y_XD + 0 * projection["bias"]',
        f"{_DISTILLATION_TESTS}::test_states_are_projected_and_summed_over_layers",
    ),
    Break(
        "the student's own loss has its whole weight",
        _DISTILLATION,
        "{name: hard * scale for name, scale in base.terms.items()}",
        "dict(base.terms)",
        f"{_DISTILLATION_TESTS}::test_the_students_own_loss_has_its_share",
    ),
)
