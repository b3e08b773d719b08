"""How fine-tuning ended: curves and a table of the best evaluation, of one run or of several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bert_jax.console import table
from bert_jax.inspection.curves import draw_curves

# Rates and the like, which a table of scores does without.
_NO_SCORES = ("step", "sequence_length", "evaluation")


class Result(Protocol):
    """How the run of one seed ended (`bert_jax.tasks.seeds.SeedResult`)."""

    @property
    def seed(self) -> int: ...

    @property
    def scores(self) -> Mapping[str, float]: ...

    @property
    def fault(self) -> str: ...


def show_finetuned(workdir: Path, scores: Mapping[str, float]) -> None:
    """Draws the curves and prints the scores of the best evaluation."""
    picture = draw_curves([workdir], workdir / "loss.png")
    rows: dict[str, Any] = {"curves": picture}
    if scores:
        rows["best evaluation"] = f"step {scores['step']:,.0f}"
    rows |= {_words(name): f"{value:.4f}" for name, value in scores.items() if name not in _NO_SCORES}
    table(f"fine-tuned: {workdir}", rows)


def show_seeds(workdir: Path, results: Sequence[Result], spread: Callable[[Sequence[float]], Any]) -> None:
    """Draws the curves of all seeds and prints each score as mean +- standard deviation, with its 95 % interval."""
    done = [result for result in results if result.scores]
    rows: dict[str, Any] = {}
    if done:
        rows["curves"] = draw_curves([workdir / f"seed{r.seed}" for r in done], workdir / "loss.png")
    for name in (name for name in (done[0].scores if done else ()) if name not in _NO_SCORES):
        found = spread([result.scores[name] for result in done])
        interval = f", 95 % interval +- {found.margin:.4f}" if len(done) > 1 else ""
        rows[_words(name)] = f"{found.mean:.4f} +- {found.deviation:.4f} ({len(done)} seeds{interval})"
    rows |= {f"seed {result.seed} failed": result.fault for result in results if result.fault}
    table(f"fine-tuned: {workdir}", rows)


def _words(name: str) -> str:
    return name.replace("_", " ")
