"""Puts the parts of a configuration together: model, objective, optimizer, plan, compiled steps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bert_jax import batch as contract
from bert_jax.config import Config
from bert_jax.models import bert
from bert_jax.models import electra as replaced
from bert_jax.objectives.electra import replaced_token_detection
from bert_jax.objectives.pretraining import pretraining
from bert_jax.objectives.sums import Objective, add
from bert_jax.training import processes
from bert_jax.training import state as states
from bert_jax.training.optim import make_optimizer
from bert_jax.training.parallel import JitPlan, PmapPlan, make_plan
from bert_jax.training.state import TrainState
from bert_jax.training.step import eval_step, metric_names, train_step

if TYPE_CHECKING:
    from bert_jax.data.batches.pipeline import Batches
    from bert_jax.data.corpus.shards import TokenShards
    from bert_jax.data.instances.index import Split

Batch = Mapping[str, np.ndarray]


def make_objective(config: Config) -> Objective:
    """What a configuration learns, with its model inside."""
    if config.objective.name == "rtd":
        forward = functools.partial(replaced.forward, config)
        return replaced_token_detection(forward, weight=config.objective.rtd_weight)
    return pretraining(bert.BertForPretraining(config.model).apply, config.data.sentence_objective)


def init_params(config: Config, key: jax.Array) -> Any:
    """Fresh parameters of what a configuration trains: one encoder, or the two of replaced-token detection."""
    if config.objective.name == "rtd":
        return replaced.init_params(config, key)
    return bert.init_params(config.model, key)


@dataclasses.dataclass(frozen=True)
class Assembly:
    """A configuration's parts, on devices."""

    config: Config
    plan: JitPlan | PmapPlan
    objective: Objective

    @classmethod
    def of(cls, config: Config, devices: Sequence[jax.Device] | None = None) -> Assembly:
        """On `devices`, all by default. Raises `ConfigError` where they do not fit."""
        return cls(config, make_plan(config, devices), make_objective(config))

    def at(self, config: Config) -> Assembly:
        """The same model on the same devices, for rows of another length."""
        return dataclasses.replace(self, config=config)

    def batches(self, shards: TokenShards, split: Split) -> Batches:
        """The rows of every batch of `split` that this process feeds."""
        from bert_jax.data.batches.pipeline import Batches, Host

        return Batches(shards, self.config, split, host=Host(*self.plan.share()))

    @functools.cached_property
    def _create(self) -> Callable[[Any], TrainState]:
        def create(seed: Any) -> TrainState:
            params = init_params(self.config, jax.random.key(seed))
            sample = contract.synthetic(self.config, 1)
            names = metric_names(self.objective, params, sample)
            return states.create(params, make_optimizer(self.config), names, seed=seed)

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

    def compile_train(self, state: TrainState, batch: Batch):
        """(state, placed batch) -> (state, sums), compiled for the shapes of `batch`."""
        body = functools.partial(
            train_step,
            objective=self.objective,
            optimizer=make_optimizer(self.config),
            accumulate=self.config.train.accumulate,
        )
        return self.plan.compile_train(body, state, self.plan.place(batch))

    def evaluator(self, batches: Callable[[], Iterable[Batch]]) -> Callable[[Any], dict[str, tuple]]:
        """parameters -> (sum, weight) of every metric over `batches()`; compiled at its first use."""
        body = functools.partial(eval_step, objective=self.objective)
        compiled: list[Callable] = []

        def evaluate(params: Any) -> dict[str, tuple]:
            total = None
            for batch in batches():
                placed = self.plan.place(batch)
                if not compiled:
                    compiled.append(self.plan.compile_eval(body, params, placed))
                sums = jax.device_get(compiled[0](params, placed))
                processes.heartbeat("a batch of the evaluation")
                total = sums if total is None else add(total, sums)
            return jax.device_get(total)

        return evaluate
