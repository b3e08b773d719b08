"""The step, optimizers, schedules and checkpoints."""

from tests.mutations.definition import Break

_STEP, _STEP_TESTS = "training/step.py", "training/test_step.py"
_OPTIM, _OPTIM_TESTS = "training/optim.py", "training/test_optim.py"
_RULES, _RULES_TESTS = "training/update_rules.py", "training/test_update_rules.py"
_SCHEDULE, _SCHEDULE_TESTS = "training/schedule.py", "training/test_schedule.py"
_CHECKPOINT, _MANAGER = "training/checkpoint.py", "training/checkpoint_manager.py"
_CHECKPOINT_TESTS, _DAMAGE_TESTS = "training/test_checkpoint.py", "training/test_damage.py"
_LOOP, _LOOP_TESTS = "training/loop.py", "training/test_loop.py"

BREAKS = (
    # The step
    Break(
        "devices divide by their own weights",
        _STEP,
        "weights = reduce(objective.weights(batch))",
        "weights = objective.weights(batch)",
        "tasks/test_contract.py::test_the_same_on_eight_devices_as_on_one",
    ),
    Break(
        "the last micro-batch alone is learnt",
        _STEP,
        "jax.tree.map(jnp.add, total, micro_step(rows)), None",
        "micro_step(rows), None",
        f"{_STEP_TESTS}::test_micro_batches_are_the_batch",
    ),
    Break(
        "every step has the dropout of the first",
        _STEP,
        'impl="threefry2x32"), state.step)',
        'impl="threefry2x32"), 0)',
        f"{_STEP_TESTS}::test_each_step_of_each_seed_has_dropout_of_its_own",
    ),
    Break(
        "every seed has the dropout of the first",
        _STEP,
        "jax.random.key(state.seed,",
        "jax.random.key(0,",
        f"{_STEP_TESTS}::test_each_step_of_each_seed_has_dropout_of_its_own",
    ),
    Break(
        "the step that failed is the last that did",
        _STEP,
        "(failed_step < 0) & ~finite",
        "~finite",
        f"{_STEP_TESTS}::test_the_first_step_that_is_not_finite_is_noted",
    ),
    Break(
        "moments take a step that is left out",
        _STEP,
        "opt_state=either(updated.opt_state, state.opt_state)",
        "opt_state=updated.opt_state",
        f"{_STEP_TESTS}::test_a_step_left_out_changes_nothing_but_the_clocks",
    ),
    Break(
        "the average forgets the run's beginning too slowly",
        _STEP,
        "9 / (10 + update)",
        "1 / (10 + update)",
        f"{_STEP_TESTS}::test_the_average_of_the_parameters_is_numpys",
    ),
    Break(
        "frozen parameters decay",
        _STEP,
        "lambda still, old, new: old if still else new",
        "lambda still, old, new: new",
        f"{_STEP_TESTS}::test_the_rest_trains_as_beside_constants",
    ),
    Break(
        "moments of frozen parameters shrink",
        _STEP,
        "with_frozen(frozen, state.opt_state, opt_state)",
        "opt_state",
        f"{_STEP_TESTS}::test_moments_of_frozen_parameters_wait",
    ),
    # Optimizers
    Break(
        "the update is clipped and not the gradient",
        _OPTIM,
        "optax.chain(clip, update_rule(optim, table), *rest)",
        "optax.chain(update_rule(optim, table), clip, *rest)",
        f"{_OPTIM_TESTS}::test_adamw_is_optax_adamw_with_the_published_exclusions",
    ),
    Break(
        "biases and norms decay",
        _OPTIM,
        "table.map(lambda row: row.decays, params)",
        "table.map(lambda row: True, params)",
        f"{_OPTIM_TESTS}::test_adamw_is_optax_adamw_with_the_published_exclusions",
    ),
    Break(
        "LAMB scales the updates of vectors",
        _OPTIM,
        "optax.masked(optax.scale_by_trust_ratio(), decays) if is_lamb",
        "optax.scale_by_trust_ratio() if is_lamb",
        f"{_OPTIM_TESTS}::test_the_optimizers_of_bert_and_albert_are_their_code_written_out",
    ),
    Break(
        "a decay by schedule does not follow it",
        _OPTIM,
        "-optim.weight_decay * share(step)",
        "-optim.weight_decay",
        f"{_RULES_TESTS}::test_ten_steps_are_the_published_rule_written_out",
    ),
    Break(
        "BERT's Adam corrects its bias",
        _RULES,
        'if optim.name in ("bert_adam", "lamb"):',
        'if optim.name == "lamb":',
        f"{_OPTIM_TESTS}::test_bias_correction_is_what_tells_the_two_apart",
    ),
    Break(
        "epsilon is under the root",
        _RULES,
        "m / (jnp.sqrt(v) + eps)",
        "m / jnp.sqrt(v + eps)",
        f"{_OPTIM_TESTS}::test_the_optimizers_of_bert_and_albert_are_their_code_written_out",
    ),
    Break(
        "StableAdamW bounds by a biased second moment",
        _RULES,
        "second = optax.tree.bias_correction(of_adam.nu, b2, of_adam.count)",
        "second = of_adam.nu",
        f"{_RULES_TESTS}::test_ten_steps_are_the_published_rule_written_out",
    ),
    Break(
        "Adafactor's decay is a step ahead",
        _RULES,
        "1 - (step + 1.0) ** -power",
        "1 - (step + 2.0) ** -power",
        f"{_RULES_TESTS}::test_ten_steps_are_the_published_rule_written_out",
    ),
    Break(
        "Muon scales by the shorter side",
        _RULES,
        "math.sqrt(max(axes.sizes(update)))",
        "math.sqrt(min(axes.sizes(update)))",
        f"{_RULES_TESTS}::test_ten_steps_are_the_published_rule_written_out",
    ),
    Break(
        "Muon takes the matrices of heads",
        _RULES,
        'row.kind == "matrix" and row.path.startswith(LAYER)',
        'row.kind == "matrix"',
        f"{_RULES_TESTS}::test_ten_steps_are_the_published_rule_written_out",
    ),
    Break(
        "a layer has the rate of the one below",
        "training/rates.py",
        "return layers - int(found[1])",
        "return layers - int(found[1]) + 1",
        "training/test_rates.py::test_layer_decay_halves_the_rate_of_each_layer_below",
    ),
    # Schedules
    Break(
        "the first update of a warmup does not move",
        _SCHEDULE,
        "optax.linear_schedule(peak / (warmup + 1), peak, warmup)",
        "optax.linear_schedule(0.0, peak, warmup)",
        f"{_SCHEDULE_TESTS}::test_schedules",
    ),
    Break(
        "BERT's decay counts from the end of the warmup",
        _SCHEDULE,
        "peak * (1 - jnp.minimum(step, steps) / steps)",
        "peak * (1 - jnp.minimum(step - warmup, steps) / (steps - warmup))",
        f"{_SCHEDULE_TESTS}::test_schedules",
    ),
    Break(
        "the decay begins an update late",
        _SCHEDULE,
        "(rest - decay, falling)",
        "(rest - decay + 1, falling)",
        f"{_SCHEDULE_TESTS}::test_every_update_of_a_decay_with_and_without_a_floor",
    ),
    Break(
        "the floor is added to the decay",
        _SCHEDULE,
        "(floor + (1 - floor) * (1 - jnp.sqrt(",
        "(floor + (1 - jnp.sqrt(",
        f"{_SCHEDULE_TESTS}::test_every_update_of_a_decay_with_and_without_a_floor",
    ),
    # Checkpoints
    Break(
        "a resumed run counts its steps from 0",
        _CHECKPOINT,
        "average=average, **restored[_REST])",
        'average=average, **{**restored[_REST], "step": jax.numpy.int32(0)})',
        f"{_CHECKPOINT_TESTS}::test_round_trip_is_bit_identical",
    ),
    Break(
        "a resumed run has the random numbers of another seed",
        _CHECKPOINT,
        "average=average, **restored[_REST])",
        'average=average, **{**restored[_REST], "seed": jax.numpy.uint32(0)})',
        f"{_CHECKPOINT_TESTS}::test_round_trip_is_bit_identical",
    ),
    Break(
        "a resumed run begins with moments of 0",
        _CHECKPOINT,
        "average=average, **restored[_REST])",
        'average=average, **{**restored[_REST], "opt_state": jax.tree.map(jax.numpy.zeros_like, restored[_REST]["opt_state"])})',
        f"{_CHECKPOINT_TESTS}::test_round_trip_is_bit_identical",
    ),
    Break(
        "a resumed run begins its window anew",
        _CHECKPOINT,
        "average=average, **restored[_REST])",
        'average=average, **{**restored[_REST], "window": jax.tree.map(jax.numpy.zeros_like, restored[_REST]["window"])})',
        f"{_CHECKPOINT_TESTS}::test_round_trip_is_bit_identical",
    ),
    Break(
        "a model has the parameters in place of their average",
        _CHECKPOINT,
        "item = _AVERAGE if (self._folder(step) / _AVERAGE).exists() else _PARAMS",
        "item = _PARAMS",
        f"{_CHECKPOINT_TESTS}::test_an_average_is_saved_and_is_what_a_model_is_made_of",
    ),
    Break(
        "damaged files are not looked for before a run goes on",
        _CHECKPOINT,
        "fault = self._first_process_finds(step)",
        "fault = None",
        f"{_DAMAGE_TESTS}::test_a_damaged_file",
    ),
    Break(
        "any content fits a checksum",
        "checksums.py",
        "return None if found == expected else",
        "return None if found else",
        "test_checksums.py::test_what_is_damaged_is_said",
    ),
    Break(
        "damaged checkpoints stay where the next is written",
        _CHECKPOINT,
        "self._folder(step).rename(place)",
        "place.mkdir()",
        f"{_DAMAGE_TESTS}::test_a_damaged_file",
    ),
    Break(
        "the best accuracy is the lowest",
        _MANAGER,
        'value if select.better == "min" else -value',
        "value",
        f"{_CHECKPOINT_TESTS}::test_the_metric_of_the_task_decides_which_is_best",
    ),
    Break(
        "the best checkpoint is one of short rows",
        _MANAGER,
        'comparable = (-metrics["sequence_length"],',
        'comparable = (metrics["sequence_length"],',
        f"{_CHECKPOINT_TESTS}::test_the_best_is_of_the_longest_rows_evaluated",
    ),
    # The loop
    Break(
        "a line of metrics is a mean since the first step",
        _LOOP,
        "state = clear_window(state)",
        "state = state",
        f"{_LOOP_TESTS}::test_a_phase_ends_with_a_line_of_each_kind_and_a_checkpoint",
    ),
    Break(
        "the logged rate is that of the next update",
        _LOOP,
        "run.schedule(int(state.step) - 1)",
        "run.schedule(int(state.step))",
        f"{_LOOP_TESTS}::test_a_phase_ends_with_a_line_of_each_kind_and_a_checkpoint",
    ),
    Break(
        "rows that fill up the last batch are scored",
        "training/trainer.py",
        "order = order[ids[order] < rows]",
        "order = order[ids[order] < np.inf]",
        "tasks/test_contract.py::test_it_trains_and_is_scored_on_the_predictions_of_all_rows",
    ),
)
