"""Which rows a process feeds, from the devices that it holds, without starting any."""

from types import SimpleNamespace

import pytest

from bert_jax import config as configs
from bert_jax.batch import Host
from bert_jax.errors import ConfigError
from bert_jax.training import parallel


@pytest.mark.parametrize(
    ("held", "shares"),
    [
        ({0: {0, 1}}, [(0, 1)]),
        ({0: {0, 1}, 1: {2, 3}}, [(0, 2), (1, 2)]),
        ({0: {0}, 1: {0}, 2: {1}, 3: {1}}, [(0, 2), (0, 2), (1, 2), (1, 2)]),  # split by "tensor"
        ({0: {2, 3}, 1: {0, 1}}, [(1, 2), (0, 2)]),  # the mesh goes round the processes in its own order
        ({0: {0, 2}, 1: {1, 3}}, [(0, 2), (1, 2)]),
        ({0: {0, 1}, 1: {1, 2}}, [None, None]),
        ({0: {0, 1}, 1: {2}}, [None, None]),
    ],
    ids=str,
)
def test_processes_feed_the_rows_that_their_devices_hold(held, shares):
    assert [parallel.row_part(held, process) for process in held] == shares


def test_a_plan_asks_its_mesh():
    """Eight devices of this process: all rows."""
    raw = {"parallel": {"data": 2, "fsdp": 2, "tensor": 2}, "model": {"preset": "bert-tiny"}}
    assert parallel.make_plan(configs.resolve(raw)).host() == Host(0, 1)


def test_pmap_is_for_one_process():
    raw = {"parallel": {"mode": "pmap"}, "train": {"batch_size": 8}, "model": {"preset": "bert-tiny"}}
    devices = [SimpleNamespace(process_index=i, device_kind="cpu") for i in range(2)]
    with pytest.raises(
        ConfigError, match=r"^config.parallel.mode='pmap' must be 'jit' for a run of 2 processes"
    ):
        parallel.make_plan(configs.resolve(raw), devices)
