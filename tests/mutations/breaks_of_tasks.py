"""Features and batches of fine-tuning, and scores."""

from tests.mutations.definition import Break

_WORDS, _WORDS_TESTS = "data/labelled/words.py", "data/labelled/test_words.py"
_CONTEXTS, _CONTEXTS_TESTS = "data/labelled/contexts.py", "data/labelled/test_contexts.py"
_ANSWERS, _ANSWERS_TESTS = "data/labelled/answers.py", "data/labelled/test_answers.py"
_BATCHES, _BATCHES_TESTS = "data/labelled/batches.py", "data/labelled/test_batches.py"
_ENTITIES, _ENTITIES_TESTS = "scoring/entities.py", "scoring/test_entities.py"
_SPANS, _SPANS_TESTS = "scoring/spans.py", "scoring/test_spans.py"
_CLASSES, _CLASSES_TESTS = "scoring/classes.py", "scoring/test_classes.py"

BREAKS = (
    # Features
    Break(
        "tags stand a token too early",
        _WORDS,
        "places = len(before) + np.cumsum(",
        "places = np.cumsum(",
        f"{_WORDS_TESTS}::test_features_by_hand",
    ),
    Break(
        "every token of a word has its tag",
        _WORDS,
        "words_L = np.full(len(ids), -1, np.int32)",
        "words_L = np.full(len(ids), window.first, np.int32)",
        f"{_WORDS_TESTS}::test_features_by_hand",
    ),
    Break(
        "a word is scored in the last window with its context",
        _WORDS,
        "np.where(context_W > best_W[inside],",
        "np.where(context_W >= best_W[inside],",
        f"{_WORDS_TESTS}::test_windows_and_their_words_are_those_of_a_plain_walk",
    ),
    Break(
        "words of later sentences have the numbers of the first",
        _WORDS,
        "np.where(is_word_L, starts[row.sentence] + row.words_L, -1)",
        "np.where(is_word_L, row.words_L, -1)",
        f"{_WORDS_TESTS}::test_features_by_hand",
    ),
    Break(
        "an answer at the end of a window is lost",
        _CONTEXTS,
        "end > ends_K[-1]:",
        "end >= ends_K[-1]:",
        f"{_CONTEXTS_TESTS}::test_a_window_has_the_answer_if_it_holds_all_of_it",
    ),
    Break(
        "an answer has a token more",
        _CONTEXTS,
        'side="left")) - 1',
        'side="left"))',
        f"{_CONTEXTS_TESTS}::test_a_window_has_the_answer_if_it_holds_all_of_it",
    ),
    Break(
        "numbers as labels are in the order of their spelling",
        "data/labelled/texts.py",
        "tuple(sorted(labels, key=int))",
        "tuple(sorted(labels))",
        "data/labelled/test_text_features.py::test_labels_that_are_numbers_are_in_the_order_of_their_values",
    ),
    Break(
        "a class has its place in the alphabet and not among the labels",
        "data/labelled/texts.py",
        "for i, label in enumerate(labels)}",
        "for i, label in enumerate(sorted(labels))}",
        "data/labelled/test_text_features.py::test_targets_of_each_kind",
    ),
    Break(
        "other labels have the features of the first",
        "tasks/finetuning.py",
        '"labels": labels,',
        '"labels": (),',
        "tasks/test_finetuning.py::test_other_labels_are_other_features",
    ),
    Break(
        "another stride has the features of the first",
        "tasks/tagging.py",
        'return {"stride": config.task.stride}',
        "return {}",
        "tasks/test_tagging.py::test_another_stride_is_other_features",
    ),
    # Batches
    Break(
        "padding has the first class",
        _BATCHES,
        "tokens[:] = -1",
        "tokens[:] = 0",
        f"{_BATCHES_TESTS}::test_groups_bring_axes_of_their_own",
    ),
    Break(
        "answers in packed rows stand where they stood alone",
        _BATCHES,
        "= in_row_X + array[seqs]",
        "= array[seqs]",
        "tasks/test_question_answering.py::test_packed_rows_have_the_loss_and_gradient_of_windows_alone",
    ),
    Break(
        "the first example of a row is padding",
        _BATCHES,
        "np.repeat(slot_X + 1, lengths_X)",
        "np.repeat(slot_X, lengths_X)",
        f"{_BATCHES_TESTS}::test_a_step_has_exactly_its_examples_each_whole_and_once",
    ),
    Break(
        "every epoch of fine-tuning has the order of the first",
        _BATCHES,
        "key = fold(root(self._seed), epoch)",
        "key = fold(root(self._seed), 0)",
        f"{_BATCHES_TESTS}::test_an_epoch_has_every_example_once_and_the_next_another_order",
    ),
    Break(
        "hosts have the same part of a batch",
        _BATCHES,
        "rows[host.index * part : (host.index + 1) * part]",
        "rows[:part]",
        f"{_BATCHES_TESTS}::test_the_parts_of_the_hosts_are_the_batch",
    ),
    Break(
        "a row of labelled examples has one more than it may",
        "data/labelled/packing.py",
        "if len(rows[row]) < most:",
        "if len(rows[row]) <= most:",
        f"{_BATCHES_TESTS}::test_best_fit_keeps_to_the_length_and_the_number",
    ),
    # Scores
    Break(
        "predictions are in the order of rows",
        "tasks/predicted.py",
        "return values_N[order], ids_N[order]",
        "return values_N, ids_N[order]",
        "tasks/test_predicted.py::test_predictions_are_in_the_order_of_their_numbers",
    ),
    Break(
        "pairs have the numbers of their texts",
        "tasks/similarity.py",
        '["targets_P"][2 * ids_N]',
        '["targets_P"][ids_N]',
        "tasks/test_similarity.py::test_badness_is_the_distance_from_the_place_among_the_pairs",
    ),
    Break(
        "the F1 is half of what it is",
        _CLASSES,
        "2 * right / np.maximum(gold + found, 1)",
        "right / np.maximum(gold + found, 1)",
        f"{_CLASSES_TESTS}::test_two_classes_by_hand",
    ),
    Break(
        "Matthews's correlation has the spread of gold alone",
        _CLASSES,
        "(total**2 - found_C @ found_C)",
        "(total**2 - gold_C @ gold_C)",
        f"{_CLASSES_TESTS}::test_two_classes_by_hand",
    ),
    Break(
        "a confusion matrix has predictions in rows",
        _CLASSES,
        "cells_N = labels_N.astype(np.int64) * classes + predictions_N.astype(np.int64)",
        "cells_N = predictions_N.astype(np.int64) * classes + labels_N.astype(np.int64)",
        f"{_CLASSES_TESTS}::test_a_confusion_matrix_has_gold_in_rows",
    ),
    Break(
        "only B begins an entity",
        _ENTITIES,
        'letter == "B" if strict else letter != "O"',
        'letter == "B"',
        f"{_ENTITIES_TESTS}::test_tags_that_break_a_scheme_are_read_as_the_official_scripts_read_them",
    ),
    Break(
        "an entity goes on in one of another type",
        _ENTITIES,
        'may_continue and kind == open_kind and letter in "IEL"',
        'may_continue and letter in "IEL"',
        f"{_ENTITIES_TESTS}::test_tags_that_break_a_scheme_are_read_as_the_official_scripts_read_them",
    ),
    Break(
        "an entity at the end of a sentence is lost",
        _ENTITIES,
        "found.append(Entity(open_kind, start, len(tags)))",
        "pass",
        f"{_ENTITIES_TESTS}::test_every_scheme_by_hand",
    ),
    Break(
        "answers that differ in capitals differ",
        _SPANS,
        "text.lower().translate(",
        "text.translate(",
        f"{_SPANS_TESTS}::test_answers_are_normalized",
    ),
    Break(
        "the worst of the gold answers counts",
        _SPANS,
        "    return max(",
        "    return min(",
        f"{_SPANS_TESTS}::test_an_answer_is_compared_with_every_gold_one",
    ),
    Break(
        "an answer at the threshold is none",
        _SPANS,
        "no_answer[key] > threshold}",
        "no_answer[key] >= threshold}",
        f"{_SPANS_TESTS}::test_a_threshold_empties_the_answers_above_it",
    ),
    Break(
        "the best threshold is the highest that reaches the best score",
        _SPANS,
        "if total > best:",
        "if total >= best:",
        f"{_SPANS_TESTS}::test_the_best_threshold_is_the_lowest_that_reaches_the_best_score",
    ),
    Break(
        "a span has a token less than it may",
        _ANSWERS,
        "(lengths_NN <= max_answer)",
        "(lengths_NN < max_answer)",
        f"{_ANSWERS_TESTS}::test_a_span_is_no_longer_than_it_may_be",
    ),
    Break(
        "the null score is the largest of all windows",
        _ANSWERS,
        "min(logits_L2[0].sum()",
        "max(logits_L2[0].sum()",
        f"{_ANSWERS_TESTS}::test_the_best_spans_are_those_of_a_plain_search",
    ),
    Break(
        "Spearman's correlation is Kendall's",
        "scoring/regression.py",
        "stats.spearmanr(targets_N, predictions_N)",
        "stats.kendalltau(targets_N, predictions_N)",
        "scoring/test_regression.py::test_correlations_by_hand",
    ),
)
