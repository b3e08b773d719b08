"""The plan: mesh, sharding rules, placement and compilation, in one place.

A mesh has three axes. Rows of a batch are split over "data" and "fsdp"; parameters and their optimizer
state over "fsdp" (hidden D, embedding E) and "tensor" (heads H, MLP columns F); everything else is replicated.
XLA inserts the collectives. pmap is the compatibility mode: data parallelism, replicated state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert_jax.config import Config
from bert_jax.errors import ConfigError
from bert_jax.models.axes import param_axes, path_name
from bert_jax.training.state import TrainState

_RULES: dict[str, str] = {"D": "fsdp", "E": "fsdp", "H": "tensor", "F": "tensor"}
_ROWS = PartitionSpec(("data", "fsdp"))
_PMAP_AXIS = "data"


def make_plan(config: Config, devices: Sequence[jax.Device] | None = None) -> JitPlan | PmapPlan:
    """The plan for `config` on `devices` (all of them by default).

    Raises:
      ConfigError: the mesh does not fit the devices, the batch does not divide by the mesh, or pmap was chosen
        for several processes.
    """
    devices = jax.devices() if devices is None else devices
    parallel, train = config.parallel, config.train
    rest = parallel.fsdp * parallel.tensor
    data = parallel.data if parallel.data > 0 else max(len(devices) // rest, 1)
    if data * rest != len(devices):
        raise ConfigError(
            [
                f"config.parallel.data={data} x fsdp={parallel.fsdp} x tensor={parallel.tensor} = {data * rest}"
                f" must equal the number of devices: {len(devices)} ({devices[0].device_kind})"
            ]
        )
    shares = data * parallel.fsdp
    if train.batch_size % (shares * train.accumulate):
        raise ConfigError(
            [
                f"config.train.batch_size={train.batch_size} must be a multiple of"
                f" {shares * train.accumulate} = {shares} devices that split rows"
                f" x config.train.accumulate={train.accumulate}"
            ]
        )
    processes = len({device.process_index for device in devices})
    if parallel.mode == "pmap" and processes > 1:
        raise ConfigError(
            [
                f"config.parallel.mode='pmap' must be 'jit' for a run of {processes} processes, or run it in one"
            ]
        )
    if parallel.mode == "pmap":
        return PmapPlan(devices)
    mesh = jax.make_mesh(
        (data, parallel.fsdp, parallel.tensor),
        ("data", "fsdp", "tensor"),
        axis_types=(AxisType.Auto,) * 3,
        devices=devices,
    )
    return JitPlan(mesh)


class JitPlan:
    """jit over a mesh: bodies see the global batch, `reduce` is the identity."""

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self._rows = NamedSharding(mesh, _ROWS)

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """This process's rows as part of the global batch, each device holding its share."""
        return {
            name: jax.make_array_from_process_local_data(self._rows, rows) for name, rows in batch.items()
        }

    def share(self) -> tuple[int, int]:
        """(index, count): which of `count` equal shares of a batch's rows this process feeds.

        Processes that hold the same rows, split by "tensor", feed the same share. Shares are numbered by the
        rows that their devices hold, so that the batch has its rows in order where each process's lie together.

        Raises:
          ConfigError: a device axis cuts across processes so that they would hold rows in part.
        """
        held: dict[int, set[int]] = {}
        devices: Any = self._rows.devices_indices_map((self.mesh.shape["data"] * self.mesh.shape["fsdp"],))
        for device, (rows,) in devices.items():
            held.setdefault(device.process_index, set()).add(rows.start or 0)
        share = row_share(held, jax.process_index())
        if share is None:
            raise ConfigError(
                [
                    f"config.parallel.tensor={self.mesh.shape['tensor']} must divide the devices of each of the"
                    f" {len(held)} processes, or be a multiple of them"
                ]
            )
        return share

    def state_shardings(self, abstract: TrainState) -> TrainState:
        """Where each leaf of a state lives: parameters by rule, optimizer moments as their parameters."""
        specs = param_specs(abstract.params)
        by_path = {
            path_name(path): spec
            for path, spec in jax.tree_util.tree_leaves_with_path(
                specs, is_leaf=lambda x: isinstance(x, PartitionSpec)
            )
        }

        def sharding(path, leaf) -> NamedSharding:
            # A moment's path ends in its parameter's path: (chain index, "mu", "bert", "encoder", ...).
            keys = [str(part.key) for part in path if isinstance(part, jax.tree_util.DictKey)]
            spec = by_path.get("/".join(keys), PartitionSpec()) if leaf.ndim else PartitionSpec()
            return NamedSharding(self.mesh, spec)

        return jax.tree_util.tree_map_with_path(sharding, abstract)

    def init(self, create: Callable[[Any], TrainState], seed: Any) -> TrainState:
        """Runs `create(seed)` so that every leaf is born where it lives."""
        shardings = self.state_shardings(jax.eval_shape(create, seed))
        return jax.jit(create, out_shardings=shardings)(seed)

    def compile_train(self, body: Callable, state: TrainState, batch: Mapping[str, Any]):
        """(state, batch) -> (state, sums), compiled ahead of time; the old state's memory is reused."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        step = jax.jit(
            functools.partial(body, reduce=lambda tree: tree),
            in_shardings=(shardings, self._rows),
            out_shardings=(shardings, self.replicated),
            donate_argnums=0,
        )
        return step.lower(state, batch).compile()

    def compile_eval(self, body: Callable, params: Any, batch: Mapping[str, Any]):
        """(params, batch) -> sums, compiled ahead of time."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
        step = jax.jit(
            functools.partial(body, reduce=lambda tree: tree),
            in_shardings=(shardings, self._rows),
            out_shardings=self.replicated,
        )
        return step.lower(params, batch).compile()


class PmapPlan:
    """pmap over the devices of this process: bodies see one device's rows, `reduce` is a psum, state is replicated."""

    def __init__(self, devices: Sequence[jax.Device]):
        self.devices = devices
        mesh = Mesh(np.asarray(devices), (_PMAP_AXIS,))
        self.replicated = NamedSharding(mesh, PartitionSpec())

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows with a leading axis of devices."""
        count = len(self.devices)
        return {name: rows.reshape(count, -1, *rows.shape[1:]) for name, rows in batch.items()}

    def share(self) -> tuple[int, int]:
        """(index, count): which of `count` equal shares of a batch's rows this process feeds: all of them."""
        return 0, 1

    def state_shardings(self, abstract: TrainState) -> TrainState:
        """Everything is replicated."""
        return jax.tree.map(lambda _: self.replicated, abstract)

    def init(self, create: Callable[[Any], TrainState], seed: Any) -> TrainState:
        """Runs `create(seed)` on every device."""
        return jax.jit(create, out_shardings=self.replicated)(seed)

    def compile_train(self, body: Callable, state: TrainState, batch: Mapping[str, Any]):
        """(state, batch) -> (state, sums); no device axis going in or coming out."""
        return self._compile(body, state, batch, donate_argnums=0)

    def compile_eval(self, body: Callable, params: Any, batch: Mapping[str, Any]):
        """(params, batch) -> sums."""
        return self._compile(body, params, batch)

    def _compile(self, body: Callable, first: Any, batch: Mapping[str, Any], **options: Any):
        psum = functools.partial(jax.lax.psum, axis_name=_PMAP_AXIS)
        step = jax.pmap(
            functools.partial(body, reduce=psum),
            axis_name=_PMAP_AXIS,
            in_axes=(None, 0),
            out_axes=None,
            devices=self.devices,
            **options,
        )
        return step.lower(first, batch).compile()


def param_specs(params: Any) -> Any:
    """A tree like `params` of PartitionSpecs: the rule of each axis letter, each mesh axis used once."""

    def spec(letters: str) -> PartitionSpec:
        used: set[str] = set()
        names: list[str | None] = []
        for letter in letters:
            axis = _RULES.get(letter)
            names.append(None if axis in used else axis)
            used.update({axis} if axis else ())
        return PartitionSpec(*names)

    return jax.tree.map(spec, param_axes(params))


def row_share(held: Mapping[int, set[int]], process: int) -> tuple[int, int] | None:
    """(index, count) of the equal shares that processes hold, given the parts of the rows that each holds.

    Processes with the same parts have the same share. None: some hold parts of others', or another number.
    """
    shares = sorted({tuple(sorted(parts)) for parts in held.values()})
    parts = [part for share in shares for part in share]
    if len(parts) != len(set(parts)) or len({len(share) for share in shares}) != 1:
        return None
    return shares.index(tuple(sorted(held[process]))), len(shares)
