"""The trainer: a task on devices, and a run of it from a workdir's first line to its last checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from bert_jax import atomic
from bert_jax import config as configs
from bert_jax.batch import Batch, BatchSource, Host
from bert_jax.config import RunConfig
from bert_jax.errors import UsageError
from bert_jax.hub import Source
from bert_jax.objectives.sums import Sums, add, means
from bert_jax.training import processes
from bert_jax.training import state as states
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.groups import frozen_leaves
from bert_jax.training.hardware import peak_flops
from bert_jax.training.loop import Run, Stage, train
from bert_jax.training.metrics import METRICS_FILE, MetricsLog, NoLog, read_metrics
from bert_jax.training.optim import check_muon, make_optimizer
from bert_jax.training.parallel import JitPlan, PmapPlan, make_plan
from bert_jax.training.profiling import Trace
from bert_jax.training.schedule import make_schedule
from bert_jax.training.sinks import open_sinks
from bert_jax.training.state import TrainState
from bert_jax.training.step import eval_step, metric_names, train_step
from bert_jax.training.task import InitReport, Params, Phase, StartFrom, Task

INIT_FILE = "init.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trainer:
    """A task and its parts on devices: states, compiled steps, evaluations."""

    task: Task
    config: RunConfig
    plan: JitPlan | PmapPlan
    optimizer: optax.GradientTransformation

    @classmethod
    def of(cls, task: Task, config: RunConfig, devices: Sequence[jax.Device] | None = None) -> Trainer:
        """On `devices`, all by default. Raises `ConfigError` where they, or the optimizer, do not fit."""
        sizes = [phase.batch_size for phase in task.phases if not phase.packed]
        plan = make_plan(config, devices, table=task.table, batch_sizes=sizes)
        if config.optim.name == "muon":
            params = jax.eval_shape(task.init, jax.random.key(0))
            check_muon(params, [phase.frozen for phase in task.phases], task.table)
        return cls(task, config, plan, make_optimizer(config, task.table))

    @functools.cached_property
    def constants(self) -> Any:
        """What steps read besides the state, on its devices."""
        return self.plan.place_constants(self.task.constants())

    # States ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def _create(self) -> Callable[[Any], TrainState]:
        def create(seed: Any) -> TrainState:
            params = self.task.init(jax.random.key(seed))
            sample = self.task.phases[0].spec.zeros(1)
            names = metric_names(
                self.task.objective, params, jax.eval_shape(self.task.constants), sample,
                skip_norm=self.config.optim.skip_norm,
            )  # fmt: skip
            keeps_average = self.config.train.ema > 0
            return states.create(params, self.optimizer, names, seed=seed, keeps_average=keeps_average)

        return create

    @property
    def _seed(self) -> np.uint32:
        """An argument of what is compiled, so that runs that differ in it share the program."""
        return np.uint32(self.config.seed % 2**32)

    def new_state(self) -> TrainState:
        """The state before step 0, on its devices."""
        return self.plan.init(self._create, self._seed)

    def abstract_state(self) -> TrainState:
        """Shapes, types and places of a state, to restore a checkpoint into."""
        shapes = jax.eval_shape(self._create, self._seed)
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            self.plan.state_shardings(shapes),
        )

    def first_state(
        self, sources: tuple[Source, ...], start_from: StartFrom
    ) -> tuple[TrainState, InitReport | None]:
        """The state before step 0, with the parameters of the models in `sources`; (): fresh ones.

        Raises:
          UserError: a source is no model, or not one that the task can take parameters from.
        """
        if not sources:
            return self.new_state(), None
        created: list[TrainState] = []

        def fresh() -> Any:
            created.append(self.new_state())
            # Whole on each device first: every process must see all of it, also where it is sharded over them.
            whole = jax.jit(lambda tree: tree, out_shardings=self.plan.replicated)(created[0].params)
            return jax.device_get(whole)

        params, report = start_from(sources, fresh)
        state = created[0]

        def placed() -> Any:
            return jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), params, state.params)

        average = None if state.average is None else placed()
        return dataclasses.replace(state, params=placed(), average=average), report

    # Steps -----------------------------------------------------------------------------------------------

    def compile_train(self, phase: Phase, state: TrainState, batch: Batch) -> CompiledStep:
        """The training step of a phase for the shapes of `batch`."""
        body = self._train_body(phase, state)
        step = CompiledStep(functools.partial(self.plan.compile_train, body), self.constants)
        step.compile(state, self.plan.place(batch))
        return step

    def compile_abstract(self, phase: Phase, rows: int) -> jax.stages.Compiled:
        """The training step of a phase for batches of `rows` rows, on devices that may not be here: nothing is placed."""
        state = self.abstract_state()
        constants = self.plan.abstract_constants(jax.eval_shape(self.task.constants))
        batch = self.plan.abstract_batch(phase.spec.zeros(rows))
        compiled: Any = self.plan.compile_train(self._train_body(phase, state), state, constants, batch)
        return compiled

    def _train_body(self, phase: Phase, state: TrainState) -> Callable[..., Any]:
        frozen = frozen_leaves(state.params, phase.frozen) if phase.frozen else None
        return functools.partial(
            train_step,
            objective=self.task.objective_in(phase),
            optimizer=self.optimizer,
            accumulate=self.config.train.accumulate,
            frozen=frozen,
            ema=self.config.train.ema,
            skip_norm=self.config.optim.skip_norm,
        )

    def evaluator(self, source: BatchSource, phase: Phase, *, batches: int = 0) -> Evaluator:
        """Evaluates parameters as in `phase`, on the first `batches` batches of `source`; 0: all."""
        return Evaluator(self, source, phase, min(batches or source.count, source.count))

    def host(self) -> Host:
        """Which part of a batch's rows this process feeds."""
        multiple = self.plan.parts * self.config.train.accumulate
        return dataclasses.replace(self.plan.host(), multiple=multiple)

    def stage(self, phase: Phase) -> Stage:
        """What the loop needs of a phase; opens its batches here and now."""
        host = self.host()
        source = self.task.batches("train", phase, host)
        assert source is not None, f"{self.task.name} has no training batches"
        held_out = self.task.batches("eval", phase, host)
        evaluate = None
        if held_out is not None:
            evaluate = self.evaluator(held_out, phase, batches=self.config.train.eval_batches).scores
        return Stage(
            phase=phase,
            batches=source.iterate,
            compile=functools.partial(self.compile_train, phase),
            evaluate=evaluate,
        )


class CompiledStep:
    """(state, placed batch) -> (state, sums); the old state's memory is reused.

    Compiled once for each shape that batches have, when the first of them comes.
    """

    def __init__(self, compile_train: Callable[..., Any], constants: Any):
        self._compile, self._constants = compile_train, constants
        self._programs: dict[tuple[int, ...], Any] = {}

    def compile(self, state: TrainState, batch: Any) -> Any:
        """What XLA compiled for batches of this shape, to be asked for its memory and cost."""
        shape = batch["tokens_BL"].shape
        if shape not in self._programs:
            self._programs[shape] = self._compile(state, self._constants, batch)
        return self._programs[shape]

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Sums]:
        return self.compile(state, batch)(state, self._constants, batch)


class Evaluator:
    """Runs held-out batches; compiled at its first use."""

    def __init__(self, trainer: Trainer, source: BatchSource, phase: Phase, batches: int):
        self._trainer, self._source, self._batches = trainer, source, batches
        self._objective = trainer.task.objective_in(phase)
        self._compiled: Callable[..., Any] | None = None

    def scores(self, params: Any) -> dict[str, float]:
        """Means of every metric with the loss first, and the task's scores of all predictions."""
        sums, predictions = self.run(params)
        task = self._trainer.task
        return {**task.objective.report(means(sums)), **task.score(predictions)}

    def run(self, params: Any) -> tuple[Sums, dict[str, np.ndarray]]:
        """(sum, weight) of every metric, and the predictions of all rows in their order, [rows, ...]."""
        trainer = self._trainer
        body = functools.partial(eval_step, objective=self._objective)
        total: Sums | None = None
        predictions: list[Mapping[str, np.ndarray]] = []
        for batch in self._source.iterate(0, self._batches):
            placed = trainer.plan.place(batch)
            if self._compiled is None:
                self._compiled = trainer.plan.compile_eval(body, params, trainer.constants, placed)
            sums, predicted = jax.device_get(self._compiled(params, trainer.constants, placed))
            processes.heartbeat("a batch of the evaluation")
            total = sums if total is None else add(total, sums)
            predictions.append(predicted)
        assert total is not None, "an evaluation has a batch"
        return jax.device_get(total), _in_order(predictions, self._source.rows)


def _in_order(parts: Sequence[Mapping[str, np.ndarray]], rows: int) -> dict[str, np.ndarray]:
    """Predictions of all batches by the ids of their rows, without the rows that fill up the last batch."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not joined:
        return {}
    ids = joined.pop("example_ids_B")
    order = np.argsort(ids, kind="stable")
    order = order[ids[order] < rows]
    return {name: values[order] for name, values in joined.items()}


def _fresh_alone(sources: tuple[Source, ...], fresh: Callable[[], Params]) -> tuple[Params, InitReport]:
    raise UsageError(f"--init {sources[0]}: this task starts with fresh parameters only")


def run(
    task: Task,
    config: RunConfig,
    workdir: Path,
    *,
    init: tuple[Source, ...] = (),
    start_from: StartFrom = _fresh_alone,
    command: str = "the same command",
) -> None:
    """Trains `task` to `config.train.steps` in `workdir`, resuming what it holds; in every process of a run.

    Where `processes.start` found other processes, all of them call this alike, and are alone when it returns.
    An error that one of them meets ends every one, and no exception is raised.

    Args:
      init: models whose parameters a new run begins with.
      start_from: makes the first parameters from those.
      command: what resumes the run, for the message of one that is stopped.

    Raises:
      ConfigError: the devices, the data or the workdir do not fit the configuration.
      UserError: an `init` that does not fit; a loss that is not finite; a disk that cannot be written.
      Interrupted: a signal came; the state was saved.
    """
    with processes.session(timeout=config.parallel.timeout, checkpoints=workdir / "checkpoints"):
        _run(task, config, workdir, init, start_from, command)


def _run(
    task: Task,
    config: RunConfig,
    workdir: Path,
    init: tuple[Source, ...],
    start_from: StartFrom,
    command: str,
) -> None:
    trainer = Trainer.of(task, config)
    identity = dict(task.identity)
    stages = tuple(trainer.stage(phase) for phase in task.phases)
    is_first = processes.is_first()
    # An init that does not fit must not leave a workdir of this config behind.
    is_new = bool(init) and not workdirs.is_workdir(workdir)
    processes.barrier("looking at the workdir")
    begun = trainer.first_state(init, start_from) if is_new else None
    with contextlib.ExitStack() as stack:
        if is_first:
            init = stack.enter_context(workdirs.claim(workdir, config, identity=identity, init=init))
            task.save(workdir)
        processes.barrier("claiming the workdir")
        init = init if is_first else workdirs.read(workdir).init
        checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep, select=task.select)
        )
        processes.heartbeat("the state to begin with")
        resumed = checkpoints.resume(trainer.abstract_state())
        latest = resumed[0] if resumed else None
        history = _history(workdir, task.select.name, latest)
        if resumed:
            state = resumed[1]
            if is_first:
                _log.info("resuming %s at step %d of %d", workdir, latest, config.train.steps)
        else:
            state, report = begun or trainer.first_state(init, start_from)
            if report and is_first:
                _tell(report, workdir)
        log = stack.enter_context(contextlib.closing(_open_log(config, workdir, latest)))
        if latest is None or latest < config.train.steps:
            loop = Run(
                name=task.name,
                config=config,
                stages=stages,
                objective=task.objective,
                select=task.select,
                history=history,
                place=trainer.plan.place,
                schedule=make_schedule(config),
                checkpoints=checkpoints,
                log=log,
                trace=Trace(workdir) if config.log.profile else contextlib.nullcontext(),
                peak_flops=peak_flops(jax.devices())[0] if is_first else 1.0,
                resume_hint=f"Resume with: {command}",
            )
            train(loop, state)


def _history(workdir: Path, metric: str, latest: int | None) -> list[float]:
    """The values of a held-out metric up to the checkpoint that the run goes on from."""
    lines = read_metrics(workdir / METRICS_FILE) if latest is not None else []
    return [
        line[metric]
        for line in lines
        if line["split"] == "eval" and line["step"] <= (latest or 0) and metric in line
    ]


def _open_log(config: RunConfig, workdir: Path, latest: int | None) -> MetricsLog | NoLog:
    if not processes.is_first():
        return NoLog()
    first_step = 0 if latest is None else latest + 1
    sinks = open_sinks(config.log, workdir, first_step=first_step, config=configs.to_dict(config))
    return MetricsLog(workdir, resume_step=latest, sinks=sinks)


def _tell(report: InitReport, workdir: Path) -> None:
    """Says what was taken of other models, and keeps it in the workdir."""
    for line in report.lines():
        _log.info("%s", line)
    text = json.dumps(report.to_dict(), indent=1)
    atomic.write_text(workdir / INIT_FILE, text + "\n")
