"""Masking, rows, instances and packing of pretraining."""

from tests.mutations.definition import Break

_MASKING, _MASKING_TESTS = "data/batches/masking.py", "data/batches/test_masking.py"
_WORDS, _WORDS_TESTS = "data/batches/masking_words.py", "data/batches/test_masking_words.py"
_ROWS, _ROWS_TESTS = "data/batches/rows.py", "data/batches/test_rows.py"
_PIPELINE, _PIPELINE_TESTS = "data/batches/pipeline.py", "data/batches/test_pipeline.py"
_PAIRS, _INDEX, _INDEX_TESTS = (
    "data/instances/pairs.py",
    "data/instances/index.py",
    "data/instances/test_index.py",
)
_DOCUMENTS = "data/instances/documents.py"

BREAKS = (
    # Masking
    Break(
        "a share of 0 masks the word 0",
        _MASKING,
        "np.where(fate < masking.mask * 2**32, mask_id, shown)",
        "np.where(fate <= masking.mask * 2**32, mask_id, shown)",
        f"{_MASKING_TESTS}::test_a_split_of_one_kind_is_exact_even_for_the_extreme_words",
    ),
    Break(
        "80/0/20 in place of 80/10/10",
        _MASKING,
        "np.where(fate < (masking.mask + masking.random) * 2**32",
        "np.where(fate < masking.random * 2**32",
        f"{_MASKING_TESTS}::test_the_shares_are_those_asked_for_over_two_million_tokens",
    ),
    Break(
        "the number of predictions is rounded up",
        _MASKING,
        "np.rint(masking.rate * rows.lengths_B)",
        "np.ceil(masking.rate * rows.lengths_B)",
        f"{_MASKING_TESTS}::test_the_number_of_predictions_is_exact_for_every_length",
    ),
    Break(
        "a short row predicts nothing",
        _MASKING,
        "rows.lengths_B), 1, slots)",
        "rows.lengths_B), 0, slots)",
        f"{_MASKING_TESTS}::test_masking_equals_the_plain_version",
    ),
    Break(
        "padding and special tokens are masked",
        _MASKING,
        "key_BL[~rows.is_text_BL] = _NEVER",
        "key_BL[rows.tokens_BL < 0] = _NEVER",
        f"{_MASKING_TESTS}::test_targets_restore_the_row_and_nothing_else_changed",
    ),
    Break(
        "targets are read after the masks are written",
        _MASKING,
        "per_slot(target, np.int32)",
        "per_slot(tokens[chosen], np.int32)",
        f"{_MASKING_TESTS}::test_targets_restore_the_row_and_nothing_else_changed",
    ),
    Break(
        "slots that are not in use have a weight",
        _MASKING,
        '"mlm_weights_BM": per_slot(1, np.float32)',
        '"mlm_weights_BM": np.ones((count, slots), np.float32)',
        f"{_MASKING_TESTS}::test_a_row_with_fewer_candidates_than_predictions_uses_them_all",
    ),
    Break(
        "the last entry is never drawn",
        _MASKING,
        "np.uint64(len(entries)) >> _HALF",
        "np.uint64(len(entries) - 1) >> _HALF",
        f"{_MASKING_TESTS}::test_random_entries_come_from_the_entries_given",
    ),
    Break(
        "common tokens are preferred to rare ones",
        _MASKING,
        ".astype(np.float64) ** -rarity",
        ".astype(np.float64) ** rarity",
        f"{_MASKING_TESTS}::test_weights_are_the_counts_to_minus_rarity_and_what_is_not_there_counts_once",
    ),
    Break(
        "the tokens of a span have fates of their own",
        _MASKING,
        '(turn if masking.unit == "span" else slot)',
        "slot",
        f"{_WORDS_TESTS}::test_fates_are_a_token_s_own_or_a_span_s",
    ),
    Break(
        "n-grams of every length are as frequent",
        _WORDS,
        'if masking.unit == "span" else 1 / n',
        'if masking.unit == "span" else n / n',
        f"{_WORDS_TESTS}::test_thresholds_are_the_distributions_of_the_papers",
    ),
    Break(
        "words overlap that were hidden before",
        _WORDS,
        "self.free[word[size > n] + n] = 0",
        "self.free[word[size > n]] = 0",
        f"{_WORDS_TESTS}::test_masks_equal_the_plain_version",
    ),
    # Rows
    Break(
        "the next document is segment B",
        _ROWS,
        'at.segments["role"] == SECOND',
        'at.segments["role"] != FIRST',
        f"{_ROWS_TESTS}::test_rows_equal_the_plain_version",
    ),
    Break(
        "positions count on through packed examples",
        _ROWS,
        " - per_slot(at.cls_S)",
        " - np.arange(0, rows * length, length, dtype=np.int32)[:, None]",
        f"{_ROWS_TESTS}::test_rows_equal_the_plain_version",
    ),
    Break(
        "padding belongs to the last example",
        _ROWS,
        "per_slot(at.example_S) * used_BL",
        "per_slot(at.example_S)",
        f"{_ROWS_TESTS}::test_rows_equal_the_plain_version",
    ),
    Break(
        "only pairs of the label 1 count",
        _ROWS,
        "per_example(label_E >= 0, np.float32)",
        "per_example(label_E > 0, np.float32)",
        f"{_ROWS_TESTS}::test_rows_equal_the_plain_version",
    ),
    # Batches
    Break(
        "every epoch has the first static mask",
        _PIPELINE,
        "instance_B * masking.copies + epoch_B % masking.copies",
        "instance_B * masking.copies",
        f"{_PIPELINE_TESTS}::test_static_masks_are_a_few_taken_in_turn",
    ),
    Break(
        "the rows that fill up an evaluation count",
        _PIPELINE,
        "unmasked.is_text_BL[epoch_B > 0] = False",
        "unmasked.is_text_BL[epoch_B > 1] = False",
        f"{_PIPELINE_TESTS}::test_evaluation_weighs_every_row_once_and_the_filling_not_at_all",
    ),
    Break(
        "each seed is evaluated on masks of its own",
        _PIPELINE,
        'self._seed = config.seed if split == "train" else 0',
        "self._seed = config.seed",
        f"{_PIPELINE_TESTS}::test_evaluation_is_the_same_for_every_seed",
    ),
    Break(
        "the rows of hosts overlap",
        _PIPELINE,
        "self.host.index * of_host",
        "self.host.index",
        f"{_PIPELINE_TESTS}::test_a_batch_is_the_same_on_any_number_of_hosts",
    ),
    Break(
        "every epoch has the order of the first",
        _PIPELINE,
        "tf.constant(self._seed, tf.int64)), epoch_B]",
        "tf.constant(self._seed, tf.int64)), epoch_B * 0]",
        f"{_PIPELINE_TESTS}::test_the_next_epoch_has_another_order_and_other_masks",
    ),
    # Instances
    Break(
        "the random B may be of the same document",
        _DOCUMENTS,
        "np.where(draw >= before,",
        "np.where(draw > before,",
        f"{_INDEX_TESTS}::test_nsp_takes_b_from_another_document_half_the_time",
    ),
    Break(
        "what would have been B is dropped",
        _PAIRS,
        "np.where(random, middle, end)",
        "end",
        f"{_INDEX_TESTS}::test_every_kind_of_index_equals_the_oracle",
    ),
    Break(
        "the coin is not fair",
        _PAIRS,
        "Purpose.COIN) < 0.5",
        "Purpose.COIN) < 0.6",
        f"{_INDEX_TESTS}::test_sop_labels_are_balanced_and_whole_sentences_do_not_tell_them",
    ),
    Break(
        "an example without a pair is one in order",
        _PAIRS,
        "chunks.random | chunks.swapped, -1)",
        "chunks.random | chunks.swapped, 0)",
        f"{_INDEX_TESTS}::test_a_last_single_sentence_has_no_pair_and_no_label",
    ),
    Break(
        "A is cut at its end alone",
        _PAIRS,
        "first_start + heads(chunks.keys, Purpose.FRONT_A, first_cut)",
        "first_start",
        f"{_INDEX_TESTS}::test_cuts_take_front_and_back_alike",
    ),
    Break(
        "of two equal segments A is cut first",
        _PAIRS,
        "from_a = (excess - uneven) // 2",
        "from_a = (excess - uneven + 1) // 2",
        f"{_INDEX_TESTS}::test_every_kind_of_index_equals_the_oracle",
    ),
    Break(
        "a pair has two special tokens",
        _PAIRS,
        "return data.sequence_length - 3",
        "return data.sequence_length - 2",
        f"{_INDEX_TESTS}::test_every_kind_of_index_equals_the_oracle",
    ),
    Break(
        "an example of two documents has no room for the [SEP] between them",
        "data/instances/full_sentences.py",
        "np.cumsum(known.lengths + known.begins)",
        "np.cumsum(known.lengths)",
        f"{_INDEX_TESTS}::test_full_sentences_pay_one_slot_between_documents_and_fill_the_row",
    ),
    Break(
        "a document that is held out is trained on",
        _INDEX,
        'if split == "eval" else shuffled[held_out:]',
        'if split == "eval" else shuffled[max(held_out - 1, 0) :]',
        f"{_INDEX_TESTS}::test_the_splits_share_no_document_and_miss_none",
    ),
    Break(
        "a weight of 1.2 reads a document again four times in five",
        _DOCUMENTS,
        "Purpose.VISIT) < weights % 1",
        "Purpose.VISIT) > weights % 1",
        f"{_INDEX_TESTS}::test_weights_say_how_often_each_source_is_read",
    ),
    Break(
        "seeds share the index of the first",
        _INDEX,
        "key = [_FORMAT, shards.digest, split, seed,",
        "key = [_FORMAT, shards.digest, split,",
        "data/instances/test_tables.py::test_what_decides_the_rows_has_an_index_of_its_own",
    ),
    Break(
        "the checksums of an index are not compared",
        _INDEX,
        "for name in _TABLES} != expected:",
        "for name in _TABLES}.keys() != expected.keys():",
        "data/instances/test_tables.py::test_a_damaged_index_is_built_again",
    ),
    # Packing
    Break(
        "a row has more examples than it may",
        "data/instances/packing.py",
        "min(free // length, depth - len(pack), left)",
        "min(free // length, left)",
        "data/instances/test_packing.py::test_the_rows_are_those_of_best_fit_one_by_one",
    ),
    Break(
        "a row is closed that has room for one more",
        "data/instances/packing.py",
        "or free < shortest",
        "or free <= shortest",
        "data/instances/test_packing.py::test_the_rows_are_those_of_best_fit_one_by_one",
    ),
)
