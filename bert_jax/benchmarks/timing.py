"""What the benchmarks share: calls timed in turns, peak memory, a process of its own, the printed result."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from bert_jax.console import table
from bert_jax.errors import UserError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def seconds_of(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def calls_per_second(
    calls: Mapping[str, Callable[[], object]], *, seconds: float, repeats: int
) -> dict[str, float]:
    """The rate of each call: the median over `repeats` measurements of `seconds`.

    The calls take turns, so that other load on the machine slows all of them alike. Each is called twice before: the
    first call pays for compilation and caches.
    """
    for call in calls.values():
        call()
        call()
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            count, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds:
                call()
                count += 1
            rates[name].append(count / elapsed)
    return {name: statistics.median(each) for name, each in rates.items()}


def peak_memory(compiled: Any) -> dict[str, float]:
    """{"peak_memory_gib"} of the first device; on CPU {"temporary_memory_gib"}, what the compiled program
    (`jax.stages.Compiled`) needs besides its arguments; {} where the backend reports neither."""
    import jax

    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"peak_memory_gib": stats["peak_bytes_in_use"] / 2**30}
    analysis = compiled.memory_analysis()
    return {"temporary_memory_gib": analysis.temp_size_in_bytes / 2**30} if analysis else {}


def in_a_new_process(
    environment: Mapping[str, str],
    function: Callable[_Arguments, _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result:
    """The result of a module-level function, called in a new Python process with these variables set.

    Raises:
      UserError: the process was killed, for example because memory ran out.
    """
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_environment,
        initargs=(dict(environment),),
    ) as executor:
        try:
            return executor.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            raise UserError(f"the process that measures {function.__name__} was killed") from None


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.update(variables)


def print_result(title: str, values: Mapping[str, Any]) -> None:
    """Prints a table, unless it has no title, and, as the last line, the same values as one JSON object."""
    if title:
        table(title, {name: f"{v:,.4g}" if isinstance(v, float) else v for name, v in values.items()})
    print(json.dumps(values))
