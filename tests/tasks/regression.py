"""A task in twenty lines: a regression on [CLS], with a fixed encoder among the constants."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import Batch, BatchSpec
from bert_jax.models import bert
from bert_jax.models.parameters import TABLE, Parameter
from bert_jax.objectives.sums import Objective
from bert_jax.training.task import Metric, Phase, Task


class RegressionBatch(Batch, total=False):
    scores_B: np.ndarray


# What would be objectives/regression.py.
def regression(apply) -> Objective:
    """Squared error of a linear map of the state of [CLS], less what the fixed encoder of the constants says."""

    def forward(params, constants, batch, dropout_key):
        out = apply({"params": params}, batch, dropout_key=dropout_key)
        fixed = apply({"params": constants["fixed"]}, batch)
        states_BD = (out.hidden_BLD - 0.1 * fixed.hidden_BLD)[:, 0].astype(jnp.float32)
        return jnp.einsum("BD,DX->BX", states_BD, params["regression_head"]["kernel"])[:, 0]

    def sums(guess_B, batch):
        in_use_B = (batch["pack_ids_BL"][:, 0] > 0).astype(jnp.float32)
        return {"mse": (jnp.sum(in_use_B * (guess_B - batch["scores_B"]) ** 2), jnp.sum(in_use_B))}

    return Objective(
        forward=forward,
        sums=sums,
        weights=lambda batch: {"mse": jnp.sum((batch["pack_ids_BL"][:, 0] > 0).astype(jnp.float32))},
        terms={"mse": 1.0},
        predictions=lambda guess_B, batch: {"guess_B": guess_B, "scores_B": batch["scores_B"]},
    )


# What would be tasks/regression.py.
class Regression(Task):
    name = "regress"
    select = Metric("correlation", "max")
    table = TABLE.with_rows(Parameter(path="regression_head/kernel", axes="DX", kind="matrix"))

    def __init__(self, config):
        self.config, self._model = config, bert.BertWithHeads(config.model, ())

    @property
    def phases(self):
        fields = {
            "tokens_BL": np.int32,
            "type_ids_BL": np.int32,
            "pack_ids_BL": np.int32,
            "positions_BL": np.int32,
        }
        fields |= {"first_BP": np.int32, "example_ids_B": np.uint32, "scores_B": np.float32}
        spec, train = BatchSpec(fields, {"L": 8, "P": 1}), self.config.train
        return (Phase(start=0, stop=train.steps, batch_size=train.batch_size, spec=spec, flops=1e6),)

    @property
    def objective(self):
        return regression(self._model.apply)

    def init(self, key):
        head = 0.1 * jax.random.normal(key, (self.config.model.hidden_size, 1))
        return {**bert.init_params(self.config.model, key, ()), "regression_head": {"kernel": head}}

    def constants(self):
        return {"fixed": bert.init_params(self.config.model, jax.random.key(7), ())}

    def batches(self, split, phase, host):
        return Rows(phase, host, split)

    def score(self, predictions):
        return {"correlation": float(np.corrcoef(predictions["guess_B"], predictions["scores_B"])[0, 1])}


class Rows:
    """Rows whose score is the share of even tokens; an evaluation has 19, in batches of 16."""

    def __init__(self, phase, host, split):
        self.phase, self.host, self.split = phase, host, split
        self.rows = 19
        self.count = -(-self.rows // phase.batch_size)

    def iterate(self, start, stop):
        size = self.phase.batch_size // self.host.count
        for step in range(start, stop):
            ids = step * self.phase.batch_size + self.host.index * size + np.arange(size)
            tokens = np.stack(
                [
                    np.random.default_rng(int(i) + (10**6 if self.split == "eval" else 0)).integers(4, 60, 8)
                    for i in ids
                ]
            )
            tokens[:, 0] = 1
            is_row = (self.split == "train") | (ids < self.rows)
            yield {
                "tokens_BL": tokens.astype(np.int32),
                "type_ids_BL": np.zeros_like(tokens, np.int32),
                "pack_ids_BL": np.broadcast_to(is_row[:, None], tokens.shape).astype(np.int32),
                "positions_BL": np.broadcast_to(np.arange(8, dtype=np.int32), tokens.shape),
                "first_BP": np.zeros((size, 1), np.int32),
                "example_ids_B": ids.astype(np.uint32),
                "scores_B": (tokens[:, 1:] % 2 == 0).mean(axis=1).astype(np.float32),
            }
