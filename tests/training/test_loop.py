"""The loop over phases, driven by a step of arithmetic: what is seen, logged, saved and resumed."""

import contextlib
import dataclasses
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.errors import JaxRuntimeError

from bert_jax import config as configs
from bert_jax.errors import Interrupted, UserError
from bert_jax.objectives.sums import Objective
from bert_jax.tasks.choose import task_of
from bert_jax.training import loop
from bert_jax.training import state as states
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import MetricsLog, read_metrics
from bert_jax.training.task import Metric
from tests import runs

ROWS = 2
CONFIG = configs.resolve(
    {
        "data": {"sequence_length": 32},
        "phases": ({"share": 0.58, "sequence_length": 8}, {"share": 0.42}),
        "model": {"preset": "bert-tiny"},
        "optim": {"warmup_steps": 0},
        "train": {"steps": 12, "batch_size": ROWS, "log_every": 4, "eval_every": 4},
        "checkpoint": {"every": 5},
    }
)
CHANGE = 7  # steps 1 to 7 have rows of 8, steps 8 to 12 rows of 32


@dataclasses.dataclass
class Driven:
    """Runs in one workdir, and what the loop asked for over all of them."""

    workdir: object
    seen: list = dataclasses.field(default_factory=list)
    """(step, L, first example id) of each batch trained on"""
    compiled: list = dataclasses.field(default_factory=list)
    """(step, L) of each compilation"""
    stop_at: int = -1
    skips: bool = False
    """whether no step updates anything"""
    traced: list = dataclasses.field(default_factory=list)
    """the step of each state that the trace was shown"""

    @property
    def trace(self):
        return types.SimpleNamespace(before_step=lambda state: self.traced.append(int(state.step)))

    def batches(self, phase):
        def iterate(start, stop):
            for step in range(start, stop):
                ids = np.arange(step * ROWS, (step + 1) * ROWS, dtype=np.uint32)
                yield {
                    "tokens_BL": np.full((ROWS, phase.spec.length), step),
                    "example_ids_B": ids,
                }

        return iterate

    def train_step(self, state, batch):
        step = int(state.step)
        self.seen.append((step, batch["tokens_BL"].shape[1], int(batch["example_ids_B"][0])))
        assert (batch["tokens_BL"] == step).all()
        if step + 1 == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        sums = {"mlm_loss": (jnp.float32(batch["tokens_BL"].mean()), jnp.float32(1))}
        if self.skips:
            sums = {"mlm_loss": (jnp.float32(0), jnp.float32(0)), "skipped": (jnp.float32(1), jnp.float32(1))}
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params={"seen": state.params["seen"] + batch["tokens_BL"].sum()},
            window={name: (s + sums[name][0], w + sums[name][1]) for name, (s, w) in state.window.items()},
        )
        return state, sums

    def compile(self, state, batch):
        self.compiled.append((int(state.step), batch["tokens_BL"].shape[1]))
        return self.train_step

    def train(self, *, held_out=True, stop_at=-1):
        """Starts or resumes; returns the final parameters."""
        self.stop_at = stop_at
        stages = tuple(
            loop.Stage(
                phase=phase,
                batches=self.batches(phase),
                compile=self.compile,
                evaluate=(lambda params: {"loss": float(params["seen"])}) if held_out else None,
            )
            for phase in task_of(CONFIG).phases
        )
        names = ("mlm_loss", *(["skipped"] if self.skips else []))
        state = states.create({"seen": jnp.float32(0)}, optax.identity(), names)
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(Checkpoints(self.workdir / "checkpoints", keep=9))
            latest = checkpoints.latest()
            if latest is not None:
                like = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)  # noqa: E731
                state = checkpoints.restore(jax.tree.map(like, state), latest)
            log = stack.enter_context(contextlib.closing(MetricsLog(self.workdir, resume_step=latest)))
            nothing = Objective(forward=None, sums=None, weights=None, terms={"mlm_loss": 1.0})
            run = loop.Run(
                name="pretrain",
                config=CONFIG,
                stages=stages,
                select=Metric("loss", "min"),
                history=[],
                objective=nothing,
                place=lambda batch: batch,
                schedule=lambda step: step / 100,
                checkpoints=checkpoints,
                log=log,
                trace=contextlib.nullcontext(self.trace),
                peak_flops=1e12,
                resume_hint="",
            )
            return float(loop.train(run, state).params["seen"])

    def lines(self):
        return runs.lines(self.workdir)

    def saved(self):
        with Checkpoints(self.workdir / "checkpoints", read_only=True) as checkpoints:
            return checkpoints.steps()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    driven = Driven(tmp_path_factory.mktemp("straight"))
    driven.final = driven.train()
    return driven


def test_a_trace_sees_each_step_before_it_is_taken(straight):
    assert straight.traced == [step for step, *_ in straight.seen]


def test_each_step_has_its_own_batch_of_its_phases_length(straight):
    assert straight.seen == [(step, 8 if step < CHANGE else 32, step * ROWS) for step in range(12)]
    assert straight.compiled == [(0, 8), (CHANGE, 32)]


def test_a_phase_ends_with_a_line_of_each_kind_and_a_checkpoint(straight):
    lines = straight.lines()
    trained = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in trained] == [4, 7, 8, 12]
    # A line is the mean since the line before, so none mixes two lengths.
    assert [line["mlm_loss"] for line in trained] == [1.5, 5, 7, 9.5]
    assert [line["sequence_length"] for line in trained] == [8, 8, 32, 32]
    assert [line["learning_rate"] for line in trained] == [0.03, 0.06, 0.07, 0.11]
    held_out = [(line["step"], line["sequence_length"]) for line in lines if line["split"] == "eval"]
    assert held_out == [(0, 8), (4, 8), (7, 8), (8, 32), (12, 32)]
    assert straight.saved() == [5, 7, 10, 12]


def test_throughput_counts_the_tokens_of_the_phase(straight):
    for line in read_metrics(straight.workdir / "metrics.jsonl"):
        if line["split"] == "train":
            assert line["tokens_per_s"] == pytest.approx(
                line["sequence_length"] * line["sequences_per_s"], rel=1e-5
            )


def test_the_change_is_said(tmp_path, caplog):
    with caplog.at_level("INFO", "bert_jax"):
        Driven(tmp_path).train(held_out=False)
    assert "steps 1 to 7: 2 rows of 8 tokens" in caplog.messages
    assert "steps 8 to 12: 2 rows of 32 tokens" in caplog.messages


@pytest.mark.parametrize("stops", [(3,), (CHANGE,), (9,), (3, CHANGE, 9)], ids=str)
def test_stopped_in_any_phase_it_ends_as_if_nothing_had_been(stops, straight, tmp_path):
    driven = Driven(tmp_path)
    for step in stops:
        with pytest.raises(Interrupted, match=f"at step {step}: saved"):
            driven.train(stop_at=step)
    assert driven.train() == straight.final
    assert driven.lines() == straight.lines()
    assert driven.seen == straight.seen
    starts = (0, *stops)
    lengths = [dict(driven.compiled)[start] for start in starts]
    assert lengths == [8 if start < CHANGE else 32 for start in starts]


def test_killed_in_the_second_phase_it_repeats_from_the_checkpoint(straight, tmp_path, monkeypatch):
    driven = Driven(tmp_path)
    step = Driven.train_step

    def fails(self, state, batch):
        if int(state.step) == 9:
            raise KeyboardInterrupt
        return step(self, state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Driven, "train_step", fails)
        with pytest.raises(KeyboardInterrupt):
            driven.train()
    assert driven.saved() == [5, 7]
    assert driven.train() == straight.final
    assert driven.lines() == straight.lines()
    assert driven.seen[9:] == straight.seen[7:]


def test_without_held_out_documents_there_is_no_eval_line(tmp_path):
    driven = Driven(tmp_path)
    driven.train(held_out=False)
    assert {line["split"] for line in driven.lines()} == {"train"}


def test_a_window_without_an_update_has_no_loss_and_many_end_the_run(tmp_path, monkeypatch):
    driven = Driven(tmp_path, skips=True)
    driven.train()
    lines = [line for line in driven.lines() if line["split"] == "train"]
    assert {line["skipped"] for line in lines} == {1.0}
    assert all("loss" not in line for line in lines)
    monkeypatch.setattr(loop, "_STUCK", 3)
    with pytest.raises(
        UserError, match=r"^no step updated anything from 1 to [3-5]: .*skip_norm=0.0 or not finite"
    ):
        Driven(tmp_path / "again", skips=True).train()


def test_a_full_device_is_told_with_what_filled_it(tmp_path, monkeypatch):
    def fails(self, state, batch):
        raise JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12345 bytes.\nBuffers: ..."
        )

    monkeypatch.setattr(Driven, "train_step", fails)
    with pytest.raises(UserError) as raised:
        Driven(tmp_path).train()
    [line] = str(raised.value).splitlines()
    assert line.startswith(
        "out of memory: a step of 2 rows of 8 tokens in 1 micro-batches does not fit the devices"
    )
    assert line.endswith("Out of memory while trying to allocate 12345 bytes.")
