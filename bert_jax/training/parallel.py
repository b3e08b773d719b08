"""The plan: mesh, sharding rules, placement and compilation, in one place.

A mesh has three axes. Rows of a batch are split over "data" and "fsdp"; parameters, constants and the optimizer's
state over "fsdp" (hidden D, embedding E) and "tensor" (heads H, MLP columns F); everything else is replicated. Over
"fsdp" parameters are stored in parts, and each step computes with the whole of them (Rajbhandari et al. 2020, "ZeRO").
XLA inserts the collectives. pmap is the compatibility mode: data parallelism, replicated state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert_jax.batch import Host
from bert_jax.config import RunConfig
from bert_jax.errors import ConfigError
from bert_jax.models.parameters import TABLE, ParameterTable, path_name
from bert_jax.training.groups import owner
from bert_jax.training.state import TrainState

_RULES: dict[str, str] = {"D": "fsdp", "d": "fsdp", "E": "fsdp", "H": "tensor", "F": "tensor"}
_ROWS = PartitionSpec(("data", "fsdp"))
_PMAP_AXIS = "data"


def make_plan(
    config: RunConfig,
    devices: Sequence[jax.Device] | None = None,
    *,
    table: ParameterTable = TABLE,
    batch_sizes: Sequence[int] | None = None,
) -> JitPlan | PmapPlan:
    """The plan for `config` on `devices` (all of them by default).

    Args:
      table: covers the task's parameters.
      batch_sizes: rows of the batches of the run's phases; None: config.train.batch_size.

    Raises:
      ConfigError: the mesh does not fit the devices, a batch does not divide by the mesh, or pmap was chosen
        for several processes.
    """
    devices = jax.devices() if devices is None else devices
    parallel, accumulate = config.parallel, config.train.accumulate
    rest = parallel.fsdp * parallel.tensor
    data = parallel.data if parallel.data > 0 else max(len(devices) // rest, 1)
    if data * rest != len(devices):
        raise ConfigError(
            [
                f"config.parallel.data={data} x fsdp={parallel.fsdp} x tensor={parallel.tensor} = {data * rest}"
                f" must equal the number of devices: {len(devices)} ({devices[0].device_kind})"
            ]
        )
    parts = data * parallel.fsdp
    for size in (config.train.batch_size,) if batch_sizes is None else batch_sizes:
        if size % (parts * accumulate):
            raise ConfigError(
                [
                    f"config.train.batch_size={size} must be a multiple of {parts * accumulate} = {parts} devices"
                    f" that split rows x config.train.accumulate={accumulate}"
                ]
            )
    _check_attention(config, devices)
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
    return JitPlan(mesh, table, shards_optimizer=parallel.shard_optimizer)


def _check_attention(config: RunConfig, devices: Sequence[jax.Device]) -> None:
    """Raises `ConfigError` where the chosen kernel of attention is for other devices."""
    backend = config.attention_backend
    needed = {"cudnn": ("gpu", "cuda"), "triton": ("gpu", "cuda"), "pallas": ("tpu",)}.get(backend)
    if needed and devices[0].platform not in needed:
        raise ConfigError(
            [
                f"config.model.attention_backend={backend!r} must be 'xla' on {devices[0].platform}: that kernel is for"
                f" {needed[0].upper()}s"
            ]
        )


def _identity(tree: Any) -> Any:
    return tree


class JitPlan:
    """jit over a mesh: bodies see the global batch, `reduce` and `gather` are the identity."""

    def __init__(self, mesh: Mesh, table: ParameterTable = TABLE, *, shards_optimizer: bool = False):
        self.mesh = mesh
        self.table = table
        self.shards_optimizer = shards_optimizer
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self._rows = NamedSharding(mesh, _ROWS)

    @property
    def parts(self) -> int:
        """Equal parts that the rows of a batch are split into."""
        return self.mesh.shape["data"] * self.mesh.shape["fsdp"]

    def place(self, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        """This process's rows as part of the global batch, each device holding its part."""
        return {
            name: jax.make_array_from_process_local_data(self._rows, rows) for name, rows in batch.items()
        }

    def abstract_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes, types and places of the global batch whose rows `batch` has."""
        return {name: _abstract(rows, self._rows) for name, rows in batch.items()}

    def place_constants(self, constants: Any) -> Any:
        """Parameters that are only read, each leaf where a parameter of its axes lives."""
        return jax.tree.map(jax.device_put, constants, self._constant_shardings(constants))

    def abstract_constants(self, constants: Any) -> Any:
        """Shapes, types and places of what `place_constants` would place."""
        return jax.tree.map(_abstract, constants, self._constant_shardings(constants))

    def _whole(self, params: Any) -> Any:
        """Parameters gathered over "fsdp", which splits the rows too: left alone, XLA may as well move the activations."""
        if self.mesh.shape["fsdp"] == 1:
            return params

        def gathered(leaf: Any, spec: PartitionSpec) -> Any:
            kept = PartitionSpec(*(None if axis == "fsdp" else axis for axis in spec))
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, kept))

        return jax.tree.map(gathered, params, param_specs(params, self.table))

    def _constant_shardings(self, constants: Any) -> Any:
        specs = param_specs(constants, self.table)
        return jax.tree.map(lambda _, spec: NamedSharding(self.mesh, spec), constants, specs)

    def host(self) -> Host:
        """(index, count): which of `count` equal parts of a batch's rows this process feeds.

        Processes that hold the same rows, split by "tensor", feed the same part. Parts are numbered by the
        rows that their devices hold, so that the batch has its rows in order where each process's lie together.

        Raises:
          ConfigError: a device axis cuts across processes so that they would hold rows in part.
        """
        held: dict[int, set[int]] = {}
        devices: Any = self._rows.devices_indices_map((self.parts,))
        for device, (rows,) in devices.items():
            held.setdefault(device.process_index, set()).add(rows.start or 0)
        part = row_part(held, jax.process_index())
        if part is None:
            raise ConfigError(
                [
                    f"config.parallel.tensor={self.mesh.shape['tensor']} must divide the devices of each of the"
                    f" {len(held)} processes, or be a multiple of them"
                ]
            )
        return Host(*part)

    def state_shardings(self, abstract: TrainState) -> TrainState:
        """Where each leaf of a state lives: parameters by their axes, moments of the optimizer as their parameters, split
        over "data" besides if so chosen.

        Raises:
          ValueError: a leaf of two or more axes that is no parameter's: replicated in silence, it would cost its
            size on every device.
        """
        params = {
            path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(abstract.params)
        }
        specs = {
            path_name(path): spec
            for path, spec in jax.tree_util.tree_leaves_with_path(
                param_specs(abstract.params, self.table), is_leaf=lambda x: isinstance(x, PartitionSpec)
            )
        }

        def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
            name = path_name(path)
            found = owner(name, params)
            if found is not None and leaf.shape == params[found].shape:
                is_read_once = self.shards_optimizer and not name.startswith("params/")
                spec = self._over_data(specs[found], leaf.shape) if is_read_once else specs[found]
                return NamedSharding(self.mesh, spec)
            if leaf.ndim >= 2:
                raise ValueError(
                    f"{name} of shape {leaf.shape} must have the shape of a parameter whose path it ends in, to be"
                    f" sharded as that one{f' ({params[found].shape})' if found else ''}"
                )
            return self.replicated

        return jax.tree_util.tree_map_with_path(sharding, abstract)

    def _over_data(self, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
        """`spec` with "data" added to the first axis whose parts it divides; without one as it is."""
        axes = [*spec, *(None,) * (len(shape) - len(spec))]
        for place, (axis, size) in enumerate(zip(axes, shape, strict=True)):
            parts = self.mesh.shape[axis] if axis else 1
            if size % (parts * self.mesh.shape["data"]) == 0:
                return PartitionSpec(*axes[:place], (axis, "data") if axis else "data", *axes[place + 1 :])
        return spec

    def init(self, create: Callable[[Any], TrainState], seed: Any) -> TrainState:
        """Runs `create(seed)` so that every leaf is born where it lives."""
        shardings = self.state_shardings(jax.eval_shape(create, seed))
        return jax.jit(create, out_shardings=shardings)(seed)

    def compile_train(
        self, body: Callable, state: TrainState, constants: Any, batch: Mapping[str, Any]
    ) -> Callable[[TrainState, Any, Any], Any]:
        """(state, constants, batch) -> (state, sums), compiled ahead of time; the old state's memory is reused."""
        shardings = _shardings(state)
        step = jax.jit(
            functools.partial(body, reduce=_identity, whole=self._whole),
            in_shardings=(shardings, _shardings(constants), self._rows),
            out_shardings=(shardings, self.replicated),
            donate_argnums=0,
        )
        with jax.set_mesh(self.mesh):  # for the kernels that are written for one device
            return step.lower(state, constants, batch).compile()

    def compile_eval(
        self, body: Callable, params: Any, constants: Any, batch: Mapping[str, Any]
    ) -> Callable[[Any, Any, Any], Any]:
        """(params, constants, batch) -> (sums, predictions of all rows), compiled ahead of time."""
        step = jax.jit(
            functools.partial(body, reduce=_identity, gather=_identity, whole=self._whole),
            in_shardings=(_shardings(params), _shardings(constants), self._rows),
            out_shardings=self.replicated,
        )
        with jax.set_mesh(self.mesh):
            return step.lower(params, constants, batch).compile()


class PmapPlan:
    """pmap over the devices of this process: bodies see one device's rows, `reduce` is a psum, `gather` an
    all-gather, and state is replicated."""

    def __init__(self, devices: Sequence[jax.Device]):
        self.devices = devices
        mesh = Mesh(np.asarray(devices), (_PMAP_AXIS,))
        self.replicated = NamedSharding(mesh, PartitionSpec())

    @property
    def parts(self) -> int:
        """Equal parts that the rows of a batch are split into."""
        return len(self.devices)

    def place(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The rows with a leading axis of devices."""
        count = len(self.devices)
        return {name: rows.reshape(count, -1, *rows.shape[1:]) for name, rows in batch.items()}

    def abstract_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of the rows with a leading axis of devices."""
        return {
            name: jax.ShapeDtypeStruct(rows.shape, rows.dtype) for name, rows in self.place(batch).items()
        }

    def place_constants(self, constants: Any) -> Any:
        """Everything is replicated."""
        return jax.device_put(constants, self.replicated)

    def abstract_constants(self, constants: Any) -> Any:
        """Shapes, types and places of what `place_constants` would place."""
        return jax.tree.map(lambda leaf: _abstract(leaf, self.replicated), constants)

    def host(self) -> Host:
        """(index, count): which of `count` equal parts of a batch's rows this process feeds: all of them."""
        return Host(0, 1)

    def state_shardings(self, abstract: TrainState) -> TrainState:
        """Everything is replicated."""
        return jax.tree.map(lambda _: self.replicated, abstract)

    def init(self, create: Callable[[Any], TrainState], seed: Any) -> TrainState:
        """Runs `create(seed)` on every device."""
        return jax.jit(create, out_shardings=self.replicated)(seed)

    def compile_train(
        self, body: Callable, state: TrainState, constants: Any, batch: Mapping[str, Any]
    ) -> Callable[[TrainState, Any, Any], Any]:
        """(state, constants, batch) -> (state, sums); no device axis going in or coming out."""
        return self._compile(body, state, constants, batch, donate_argnums=0)

    def compile_eval(
        self, body: Callable, params: Any, constants: Any, batch: Mapping[str, Any]
    ) -> Callable[[Any, Any, Any], Any]:
        """(params, constants, batch) -> (sums, predictions of all rows)."""
        gather = functools.partial(jax.lax.all_gather, axis_name=_PMAP_AXIS, tiled=True)
        return self._compile(functools.partial(body, gather=gather), params, constants, batch)

    def _compile(self, body: Callable, first: Any, constants: Any, batch: Any, **options: Any) -> Callable:
        psum = functools.partial(jax.lax.psum, axis_name=_PMAP_AXIS)
        step = jax.pmap(
            functools.partial(body, reduce=psum, whole=_identity),
            axis_name=_PMAP_AXIS,
            in_axes=(None, None, 0),
            out_axes=None,
            devices=self.devices,
            **options,
        )
        return step.lower(first, constants, batch).compile()


Plan = JitPlan | PmapPlan


def _abstract(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _shardings(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def param_specs(params: Any, table: ParameterTable = TABLE) -> Any:
    """A tree like `params` of PartitionSpecs: the rule of each axis letter, each mesh axis used once.

    Raises:
      ValueError: a parameter of two or more axes that the table does not cover.
    """

    def spec(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        name = path_name(path)
        if leaf.ndim < 2 and table.find(name) is None:
            return PartitionSpec()
        used: set[str] = set()
        names: list[str | None] = []
        for letter in table.row(name, leaf.shape).axes:
            axis = _RULES.get(letter)
            names.append(None if axis in used else axis)
            used.update({axis} if axis else ())
        return PartitionSpec(*names)

    return jax.tree_util.tree_map_with_path(spec, params)


def row_part(held: Mapping[int, set[int]], process: int) -> tuple[int, int] | None:
    """(index, count) of the equal shares that processes hold, given the parts of the rows that each holds.

    Processes with the same parts have the same share. None: some hold parts of others', or another number.
    """
    shares = sorted({tuple(sorted(parts)) for parts in held.values()})
    parts = [part for share in shares for part in share]
    if len(parts) != len(set(parts)) or len({len(share) for share in shares}) != 1:
        return None
    return shares.index(tuple(sorted(held[process]))), len(shares)
