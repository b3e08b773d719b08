"""Everything that writes files, each in a small case: what a full disk must neither stop silently nor spoil."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from bert_jax import checksums
from bert_jax import config as configs
from bert_jax.config import DataConfig
from bert_jax.data.instances.token_counts import load_token_counts
from bert_jax.inspection.curves import draw_curves
from bert_jax.inspection.finetuned_page import write_page
from bert_jax.interop.formats import Format, export
from bert_jax.probes import scores
from bert_jax.scoring.glue import write_submission
from bert_jax.sweeps import store, trials
from bert_jax.sweeps.reporting.report import write_report
from bert_jax.training import state as states
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import MetricsLog
from bert_jax.training.sinks import TensorBoard
from tests.data.corpora import Corpus, random_lengths
from tests.interop import small
from tests.sweeps.plans import make_plan
from tests.sweeps.reporting import finished_sweep


def contents(folder: Path) -> dict[str, bytes]:
    """What is in all files; locks, which say nothing, left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes into a folder, which is there; again in the same folder it completes what an earlier call could not."""

    write: Callable[[Path], object]
    grows: tuple[str, ...] = ()
    """files that readers take also without their end"""
    read: Callable[[Path], Any] = lambda folder: contents(folder)
    """what is there, to be compared, where the bytes depend on the time or on chance"""


def _metrics(folder: Path) -> None:
    with contextlib.closing(MetricsLog(folder, resume_step=None)) as log:
        for step in range(200):
            log.write(step, "train", {"loss": 1 / (step + 1), "learning_rate": 1e-3})


def _events(folder: Path) -> None:
    with contextlib.closing(TensorBoard(folder, first_step=0)) as log:
        for step in range(100):
            log.write(step, "train", {"loss": 1.0, "tokens_per_s": 1e5})


def _claim(folder: Path) -> None:
    with workdirs.claim(folder / "run", configs.resolve({}), identity={"corpus": "x"}):
        small.TOKENIZER.save(folder / "run")


def _names(folder: Path) -> set[str]:
    return {name for name in contents(folder) if "tfevents" not in name}


def _state(step: int) -> states.TrainState:
    params = {"dense": {"kernel": jax.random.normal(jax.random.key(step), (64, 64))}}
    return states.create(params, optax.adam(1e-3), ("loss",)).replace(step=jax.numpy.int32(step))


def _saved(folder: Path) -> dict[int, list[bytes]]:
    """The states of all checkpoints, which are whole."""
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        steps = checkpoints.steps()
        assert [checksums.fault(folder / "checkpoints" / str(step)) for step in steps] == [None] * len(steps)
        restored = {step: checkpoints.restore(_state(0), step) for step in steps}
    return {
        step: [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
        for step, state in restored.items()
    }


def _checkpoints(folder: Path) -> None:
    with Checkpoints(folder / "checkpoints", keep=3) as checkpoints:
        for step in (3, 5):
            if step not in checkpoints.steps():
                checkpoints.save(_state(step), evaluation={"loss": 1.0, "sequence_length": 8})
        checkpoints.wait()


def _export(form: Format, folder: Path) -> None:
    config = small.CONFIGS["bert"]
    export(
        form, folder / "export", small.params_of(config), config=config, tokenizer=small.TOKENIZER, report=None
    )  # fmt: skip


def _corpus(folder: Path) -> Corpus:
    return Corpus(folder, random_lengths(0, documents=300))


def _index(folder: Path, **data: Any) -> None:
    _corpus(folder).index(DataConfig(sequence_length=32, eval_fraction=0.0, **data))


@dataclasses.dataclass
class _Text(Corpus):
    """A corpus whose tokens are counted."""

    vocab_size: int = 10_000

    def gather(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        return (starts[:, None] + np.arange(width)) % self.vocab_size


def _token_counts(folder: Path) -> None:
    load_token_counts(_Text(folder, random_lengths(0, documents=300)), 0.1)


def _sweep(folder: Path) -> None:
    """A sweep, and attempts at a trial until their file is long."""
    plan = make_plan()
    store.claim(folder, plan)
    written = len(trials.read_attempts(folder, plan.trials[0]))
    for _ in range(written // 2, 40):
        with trials.attempt(folder, plan.trials[0]):
            pass


def _probed(folder: Path) -> None:
    rows = np.random.default_rng(0).random(4000)
    score = scores.Score(name="a.loss", total_R=rows, weight_R=np.ones(4000), better="lower", unit="nats")
    scores.write(
        folder, scores.Probed(step=7, settings={"pairs": 20}, scores=(score,), breakdowns=(), details={})
    )


def _page(folder: Path) -> None:
    _metrics(folder)
    write_page(folder, title="t", scores={"accuracy": 0.5}, judged=(), confusion=None, errors=3)


def _curves(folder: Path) -> None:
    _metrics(folder)
    draw_curves([folder], folder / "loss.png")


@functools.cache
def _finished(folder: Path) -> Path:
    finished_sweep.write(folder, seeds=(0, 1), rows=200)
    return folder


def report_of(sweep: Path) -> Writer:
    """The report of a finished sweep that lies elsewhere."""
    return Writer(lambda folder: write_report(_finished(sweep), folder / "report"))


WRITERS: dict[str, Writer] = {
    "metrics": Writer(_metrics, grows=("metrics.jsonl",)),
    "tensorboard": Writer(_events, grows=("events.*",), read=_names),
    "workdir": Writer(_claim),
    "checkpoints": Writer(_checkpoints, read=_saved),
    "curves": Writer(_curves, grows=("metrics.jsonl",)),
    "page of a fine-tuned run": Writer(_page, grows=("metrics.jsonl",)),
    "hf": Writer(functools.partial(_export, "hf")),
    "native": Writer(functools.partial(_export, "safetensors")),
    "stablehlo": Writer(functools.partial(_export, "stablehlo")),
    "savedmodel": Writer(functools.partial(_export, "savedmodel"), read=_names),
    "index": Writer(_index),
    "packed index": Writer(functools.partial(_index, packing=4)),
    "token counts": Writer(_token_counts),
    "sweep": Writer(_sweep, grows=("attempts/*.jsonl",), read=_names),
    "probes": Writer(_probed),
    "submission": Writer(lambda folder: write_submission(folder, "cola", np.arange(3000) % 2)),
}
