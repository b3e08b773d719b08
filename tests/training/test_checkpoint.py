"""Checkpoints: bit-identical round trips, the latest few and the best, nothing half-written trusted."""

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from etils import epath

from bert_jax.errors import CheckpointMismatch, UserError
from bert_jax.training import state as states
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.task import Metric


def make_state(step=0):
    """No part of it is what a run begins with."""
    params = {"dense": {"kernel": jax.random.normal(jax.random.key(step), (4, 3))}}
    state = states.create(params, optax.adam(1e-3), ("mlm_loss",), seed=step + 1)
    return state.replace(
        step=jax.numpy.int32(step),
        opt_state=jax.tree.map(lambda leaf: leaf + 2, state.opt_state),
        window={"mlm_loss": (jax.numpy.float32(3), jax.numpy.float32(4))},
    )


def abstract():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), make_state())


def test_round_trip_is_bit_identical(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(7))
        checkpoints.wait()
        restored = checkpoints.restore(abstract(), 7)
        params = checkpoints.restore_params(abstract().params, 7)
    assert jax.tree.structure(restored) == jax.tree.structure(make_state(7))
    jax.tree.map(np.testing.assert_array_equal, restored, make_state(7))
    jax.tree.map(np.testing.assert_array_equal, params, make_state(7).params)


def averaged(step):
    """A state whose average is not its parameters."""
    state = make_state(step)
    return state.replace(average=jax.tree.map(lambda leaf: leaf + 1, state.params))


def shapes_of(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def test_an_average_is_saved_and_is_what_a_model_is_made_of(tmp_path):
    """Beside checkpoints from before there was one, which are read as they were."""
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        checkpoints.save(make_state(3))
        checkpoints.save(averaged(7))
        checkpoints.wait()
        restored = checkpoints.restore(shapes_of(averaged(7)), 7)
        model, plain = (checkpoints.restore_params(abstract().params, step) for step in (7, 3))
        assert checkpoints.restore(abstract(), 3).average is None
        with pytest.raises(CheckpointMismatch, match=r"dense/kernel has shape none, the run's is \(4, 3\)"):
            checkpoints.restore(shapes_of(averaged(3)), 3)
    assert jax.tree.structure(restored) == jax.tree.structure(averaged(7))
    jax.tree.map(np.testing.assert_array_equal, restored, averaged(7))
    jax.tree.map(np.testing.assert_array_equal, model, averaged(7).average)
    jax.tree.map(np.testing.assert_array_equal, plain, make_state(3).params)


def test_parts_that_a_model_does_without_are_left_out_of_an_average_too(tmp_path):
    state = averaged(1)
    extra = {"projection": jax.numpy.ones((2, 2))}
    state = state.replace(params=state.params | {"distil": extra}, average=state.average | {"distil": extra})
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state)
        checkpoints.wait()
        found = checkpoints.restore_params(abstract().params, 1, without=("distil",))
    jax.tree.map(np.testing.assert_array_equal, found, averaged(1).average)


@pytest.mark.parametrize(("rows", "parts"), [(8, 1), (2**21, 8)])
def test_devices_share_the_writing_of_large_arrays_alone(rows, parts, tmp_path):
    """Of arrays that all eight hold: a slice of each small one would cost more than it writes."""
    mesh = jax.make_mesh((8,), ("data",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = states.create({"table": jax.numpy.ones((rows, 1))}, optax.identity(), ("loss",))
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(jax.device_put(state, whole))
        checkpoints.wait()
    saved = ocp.StandardCheckpointHandler().metadata(epath.Path(tmp_path / "c" / "0" / "params"))
    assert saved["table"].storage.chunk_shape == (rows // parts, 1)


def test_the_latest_few_and_the_best_stay(tmp_path):
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: None, 5: 3.0, 6: 2.0}
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(make_state(step), evaluation=loss and {"loss": loss, "sequence_length": 8})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 5, 6]
        assert (checkpoints.latest(), checkpoints.best()) == (6, 2)
        assert [checkpoints.choose(which) for which in ("last", "best", "5")] == [6, 2, 5]
        with pytest.raises(UserError, match=r"no checkpoint '3' in .*there are last, best, 2, 5, 6"):
            checkpoints.choose("3")


def test_the_best_is_of_the_longest_rows_evaluated(tmp_path):
    """A loss on short rows says nothing beside one on long rows."""
    with Checkpoints(tmp_path / "c", keep=1) as checkpoints:
        for step, length, loss in ((1, 8, 1.0), (2, 8, 2.0)):
            checkpoints.save(make_state(step), evaluation={"loss": loss, "sequence_length": length})
        assert checkpoints.best() == 1
        for step, length, loss in ((3, 16, 4.0), (4, 16, 3.0), (5, 16, 5.0)):
            checkpoints.save(make_state(step), evaluation={"loss": loss, "sequence_length": length})
        checkpoints.wait()
        assert (checkpoints.best(), checkpoints.steps()) == (4, [4, 5])


def test_reopened_read_only_it_sees_the_same(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(3), evaluation={"loss": 1.0, "sequence_length": 8})
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (3, 3)


def test_what_a_kill_left_unfinished_is_not_a_checkpoint(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(3))
    (tmp_path / "c" / "4.orbax-checkpoint-tmp").mkdir()
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [3]
        checkpoints.save(make_state(4))
        checkpoints.wait()
        assert checkpoints.steps() == [4]


def test_an_empty_folder_has_none(tmp_path):
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.raises(UserError, match="the run saved none yet"),
    ):
        checkpoints.choose("last")


def test_a_checkpoint_that_lost_a_file_is_one_line(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(3))
    for file in (tmp_path / "c" / "3" / "params").rglob("*"):
        if file.is_file() and "manifest" in file.name:
            file.unlink()
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.raises(UserError, match=r"^checkpoint 3 in .* could not be read: [^\n]*$"),
    ):
        checkpoints.restore(abstract(), 3)


def test_a_checkpoint_of_other_shapes_names_them_and_blames_no_disk(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(3))
    kernel = jax.ShapeDtypeStruct((4, 5), np.float32, sharding=abstract().params["dense"]["kernel"].sharding)
    wider = {"dense": {"kernel": kernel}, "more": {"bias": kernel}}
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(CheckpointMismatch) as refused:
            checkpoints.restore_params(wider, 3)
        other = abstract().replace(opt_state=())
        with pytest.raises(CheckpointMismatch, match=r"opt_state/0/mu/dense/kernel has shape \(4, 3\)"):
            checkpoints.restore(other, 3)
    assert "dense/kernel has shape (4, 3), the run's is (4, 5); more/bias has shape none" in str(
        refused.value
    )
    assert "disk" not in str(refused.value) and "resumes" not in str(refused.value)


def test_the_metric_of_the_task_decides_which_is_best(tmp_path):
    with Checkpoints(tmp_path / "c", select=Metric("accuracy", "max")) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
            checkpoints.save(
                make_state(step), evaluation={"loss": step, "accuracy": accuracy, "sequence_length": 8}
            )
        checkpoints.wait()
        assert checkpoints.best() == 2


def test_scores_of_other_masks_do_not_compare_with_those_before(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, evaluation, loss in ((1, 0, 1.0), (2, 1, 3.0), (3, 1, 2.0), (4, 1, 2.5)):
            values = {"loss": loss, "sequence_length": 8, "evaluation": evaluation}
            checkpoints.save(make_state(step), evaluation=values)
        checkpoints.wait()
        assert checkpoints.best() == 3
