"""What a run keeps of its teachers' outputs on disk: where, how much, and what it took; and the teacher that computes
what is not kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.config import DistilConfig
from bert_jax.errors import UserError
from bert_jax.models.teacher import Teacher

if TYPE_CHECKING:
    from bert_jax.data.step_files import StepFiles

_FORMAT = 1


@dataclasses.dataclass
class Tally:
    """How often something was done, and seconds in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, since: float) -> None:
        """since: `time.perf_counter()` when it began."""
        self.count += count
        self.seconds += time.perf_counter() - since

    def __str__(self) -> str:
        each = f" ({1000 * self.seconds / self.count:.2f} ms each)" if self.count else ""
        return f"{self.count:,}{each}"


class TeacherCache:
    """The folders of a run, one for each teacher and set of rows, and what became of its steps or examples.

    unit: what is computed and read: "steps", "sequences".
    """

    def __init__(self, distil: DistilConfig, *, unit: str):
        directory = distil.cache_directory or os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax"
        self.root = Path(directory).expanduser() / "teachers"
        self.dtype = distil.cache_type
        self.computed, self.read = Tally(), Tally()
        self._limit, self._unit = distil.cache_gigabytes * 1e9, unit
        self._files: dict[Path, StepFiles] = {}

    def files(self, key: Mapping[str, Any], names: tuple[str, ...], *, share: int = 1) -> StepFiles:
        """The files of arrays `names` that `key` decides, in a folder that is named by its digest.

        share: processes that fill the limit together.
        """
        from bert_jax.data.step_files import StepFiles

        key = {"format": _FORMAT, **key, "names": names, "type": self.dtype}
        folder = self.root / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        if folder not in self._files:
            self._files[folder] = StepFiles(folder, names, key, room=lambda: self._limit / share - self.bytes)
        return self._files[folder]

    @property
    def bytes(self) -> int:
        """Of all files of this process."""
        return sum(files.bytes for files in self._files.values())

    def __str__(self) -> str:
        full = any(files.is_full for files in self._files.values())
        names = ", ".join(sorted(folder.name for folder in self._files))
        return (
            f"teacher cache: {self._unit} computed {self.computed}, read {self.read}; {self.bytes / 1e6:,.1f} MB"
            f"{', full: the rest is not kept' if full else ''} in {self.root}: {names}"
        )

    # A batch, read or computed ---------------------------------------------------------------------------

    def outputs(
        self,
        files: StepFiles,
        step: int,
        rows: int,
        compute: Callable[[], dict[str, np.ndarray]],
        *,
        count: int = 1,
    ) -> dict[str, np.ndarray]:
        """The arrays of a step: read, or computed and put into `files`.

        rows: a checksum of what they are computed from. count: units of the report.
        """
        since = time.perf_counter()
        found = files.read(step, rows)
        if found is not None:
            self.read.add(count, since)
            return found
        since = time.perf_counter()
        found = compute()
        self.computed.add(count, since)
        files.add(step, rows, found)
        return found


class TeacherProgram:
    """A teacher on the devices of this process, rows split over them, each with all parameters; compiled at its first
    use for each shape of a batch.

    Args:
      take: (teacher, its parameters, batch) -> what is kept, arrays by name, of which rows are the first axis.
      dtype: the type that what is not integer is kept in.
      place: the teacher's name for messages.
    """

    def __init__(
        self,
        teacher: Teacher,
        take: Callable[[Teacher, Any, Any], dict[str, jax.Array]],
        *,
        dtype: str,
        place: str,
    ):
        self._teacher, self._dtype, self._place = teacher, dtype, place

        def program(params: Any, batch: Any) -> tuple[dict[str, jax.Array], jax.Array]:
            kept = {name: _as_type(array, dtype) for name, array in take(teacher, params, batch).items()}
            return kept, jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in kept.values()]))

        self._program = jax.jit(program)
        self._params: dict[int, Any] = {}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Raises `UserError` where the outputs are not finite in the type that they are kept in."""
        rows = len(next(iter(batch.values())))
        devices = jax.local_devices()[: math.gcd(rows, jax.local_device_count())]
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        if len(devices) not in self._params:
            whole = NamedSharding(mesh, PartitionSpec())
            self._params[len(devices)] = jax.device_put(self._teacher.params, whole)
        placed = jax.device_put(dict(batch), NamedSharding(mesh, PartitionSpec("data")))
        kept, is_finite = jax.device_get(self._program(self._params[len(devices)], placed))
        if not is_finite:
            raise UserError(
                f"--teacher {self._place}: its outputs are not finite (config.distil.teacher_dtype="
                f"{self._teacher.config.dtype}, config.distil.cache_type={self._dtype})"
            )
        return kept  # type: ignore[no-any-return]


def _as_type(array: jax.Array, dtype: str) -> jax.Array:
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def teacher_key(teacher: Teacher, digest: str) -> dict[str, Any]:
    """What decides a teacher's outputs besides the rows.

    digest: of its architecture and parameters.
    """
    return {"teacher": digest, "computed": dataclasses.asdict(teacher.config)}
