"""The live table of a sweep: every trial's state, progress, speed and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bert_jax.config.phases import token_slots
from bert_jax.sweeps.definition import Trial
from bert_jax.sweeps.store import read_plan
from bert_jax.sweeps.trials import TrialState, trial_state

_COLOURS = {
    "waiting": "dim",
    "running": "bold",
    "interrupted": "yellow",
    "failed": "red",
    "finished": "green",
}
_LINE_EVERY = 60.0  # seconds between two lines of a log file


def table(folder: Path, trials: Sequence[Trial]) -> Table:
    """The states of the trials."""
    drawn = Table(
        title=f"{folder}: {summary(folder, trials)}", title_justify="left", box=None, pad_edge=False
    )
    for heading in ("trial", "state", "step", "loss", "tokens/s", "left", "fails", "reason"):
        numeric = heading in ("step", "loss", "tokens/s", "left", "fails")
        drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=heading == "trial")
    for trial in trials:
        state = trial_state(folder, trial)
        drawn.add_row(
            trial.name,
            f"[{_COLOURS[state.status]}]{state.status}[/]",
            f"{state.step:,}/{state.steps:,}",
            "" if state.loss is None else f"{state.loss:.3f}",
            "" if state.tokens_per_s is None else f"{state.tokens_per_s:,.0f}",
            _time(seconds_left(trial, state)),
            str(state.failures or ""),
            state.reason[:200],
        )
    return drawn


def print_status(folder: Path) -> None:
    """Prints the states of the trials of a sweep's folder.

    Raises:
      UserError: it is not the folder of a sweep.
    """
    console = Console(highlight=False)
    console.print(table(folder, read_plan(folder).trials), soft_wrap=not console.is_terminal)


def summary(folder: Path, trials: Sequence[Trial]) -> str:
    """ "3 of 9 trials finished, 2 running"."""
    found: list[str] = [trial_state(folder, trial).status for trial in trials]
    others = [f"{found.count(status)} {status}" for status in _COLOURS if status != "finished"]
    parts = [f"{found.count('finished')} of {len(found)} trials finished"]
    return ", ".join(parts + [text for text in others if not text.startswith("0 ")])


def seconds_left(trial: Trial, state: TrialState) -> float | None:
    """Seconds of training that remain at the rate of the last train line; None where there is none."""
    if state.status == "finished" or not state.tokens_per_s:
        return None
    return (1 - state.step / state.steps) * token_slots(trial.config) / state.tokens_per_s


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


class Watch:
    """Shows the states of trials: a live table on a terminal, a line a minute in a log file.

    A context manager; call `update` often. It starts no thread.
    """

    def __init__(self, folder: Path, trials: Sequence[Trial]):
        self._folder, self._trials = folder, trials
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._next = 0.0

    def __enter__(self) -> Watch:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.__enter__()
        self.update(now=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.update(now=True)
        if self._live:
            self._live.__exit__(None, None, None)

    def update(self, *, now: bool = False) -> None:
        """Draws if the last drawing is old enough, or `now`."""
        if not now and time.monotonic() < self._next:
            return
        if self._live:
            self._live.update(table(self._folder, self._trials), refresh=True)
            self._next = time.monotonic() + 1
        else:
            print(f"{self._folder}: {self._line()}", file=sys.stderr, flush=True)
            self._next = time.monotonic() + _LINE_EVERY

    def message(self, text: str) -> None:
        """Prints a line that stays, above the table."""
        if self._live:
            self._live.console.print(text, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _line(self) -> str:
        running = []
        for trial in self._trials:
            state = trial_state(self._folder, trial)
            if state.status == "running":
                left = _time(seconds_left(trial, state))
                running.append(
                    f"{trial.name} {state.step:,}/{state.steps:,}" + (f", {left} left" if left else "")
                )
        return "; ".join([summary(self._folder, self._trials), *running])
