"""metrics.jsonl: one object a line, each step once."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_jax import atomic, json_file
from bert_jax.errors import UserError
from bert_jax.training.sinks import Sink

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Writes metrics.jsonl, and the same values to every sink.

    Opening it for a run resumed at step s drops every line after s, so each step is left once; for one
    that starts anew (None) it drops all, such as the first lines of a run killed before it saved.
    """

    def __init__(self, workdir: Path, *, resume_step: int | None, sinks: Sequence[Sink] = ()):
        self._path = workdir / METRICS_FILE
        last = -1 if resume_step is None else resume_step
        kept = [line for line in read_metrics(self._path) if line["step"] <= last]
        atomic.write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._sinks = sinks

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one line; it is on disk before anything that follows."""
        line = {"step": step, "split": split, **{k: _rounded(v) for k, v in values.items()}}
        with atomic.naming(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        for sink in self._sinks:
            sink.write(step, split, values)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)
            with atomic.naming(self._path):  # a line that could not be written is tried once more
                self._file.close()


class NoLog:
    """The log of the processes that write nothing."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last line cut short by a kill is left out.

    Raises:
      UserError: any other line is not a JSON object with `step` and `split`.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    parsed = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            parsed.append(_metric_line(line))
        except ValueError as error:
            if number == len(lines):  # no newline at its end: the writer was cut off
                break
            raise UserError(f"{path}:{number}: not a line of metrics: {error}") from None
    return parsed


def _metric_line(line: str) -> dict[str, Any]:
    value = json_file.parse(line)
    if not (isinstance(value, dict) and {"step", "split"} <= value.keys()):
        raise ValueError("it must be an object with step and split")
    return value


def _rounded(value: float) -> float:
    """Seven significant digits, all that float32 has; counts as they are."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value
