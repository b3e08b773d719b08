"""The optimizer of a run: clipping, update rule, weight decay and learning rate, over what the table of parameters
says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import optax

from bert_jax.config import RunConfig
from bert_jax.errors import ConfigError
from bert_jax.models.parameters import TABLE, ParameterTable
from bert_jax.training.groups import frozen_leaves
from bert_jax.training.rates import rate_factors, scale_by_factors
from bert_jax.training.schedule import make_schedule
from bert_jax.training.update_rules import is_muons, stable_adam, update_rule


def make_optimizer(config: RunConfig, table: ParameterTable = TABLE) -> optax.GradientTransformation:
    """Clip by global norm, update rule, decoupled weight decay, for LAMB each matrix's update scaled to the norm of the
    matrix (You et al. 2020, algorithm 2; as in ALBERT's code not for biases and LayerNorm), learning rate, with
    `rate_factors` where some parameters have rates of their own."""
    optim = config.optim
    clip = optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity()
    rest = _decay_and_rate(config, table)
    if optim.name == "stable_adamw":
        return optax.chain(clip, stable_adam(optim.b1, optim.b2, optim.eps, optax.chain(*rest)))
    return optax.chain(clip, update_rule(optim, table), *rest)


def _decay_and_rate(config: RunConfig, table: ParameterTable) -> list[optax.GradientTransformation]:
    """What follows the update rule.

    With `weight_decay_by=schedule` the decay comes last, so that neither the rate nor a factor of it scales it: a
    parameter is multiplied by 1 - weight_decay * rate / peak of the piece.
    """
    optim = config.optim

    def decays(params: Any) -> Any:
        return table.map(lambda row: row.decays, params)

    by_rate = optim.weight_decay_by == "rate"
    is_lamb = optim.name == "lamb"
    steps = [
        optax.add_decayed_weights(optim.weight_decay, mask=decays) if by_rate else optax.identity(),
        optax.masked(optax.scale_by_trust_ratio(), decays) if is_lamb else optax.identity(),
        optax.scale_by_learning_rate(make_schedule(config)),
    ]
    if (optim.layer_decay, optim.rates) != (1.0, ()):
        steps.append(scale_by_factors(lambda params: rate_factors(params, optim)))
    if not by_rate:
        share = make_schedule(config, of_peak=True)
        steps.append(optax.add_decayed_weights(lambda step: -optim.weight_decay * share(step), mask=decays))
    return steps


def check_muon(params: Any, frozen: Sequence[Sequence[str]], table: ParameterTable = TABLE) -> None:
    """Raises `ConfigError` where Muon would update nothing in any phase.

    Args:
      params: the parameters, or their shapes.
      frozen: the patterns of frozen parameters of each phase.
    """
    chosen = table.map(is_muons, params)
    rule = "config.optim.name='muon' must have a matrix of an encoder layer to train"
    if not any(jax.tree.leaves(chosen)):
        raise ConfigError([f"{rule}: the model has none"])
    for patterns in frozen:
        still = frozen_leaves(params, patterns) if patterns else jax.tree.map(lambda _: False, params)
        if any(jax.tree.leaves(jax.tree.map(lambda of_muon, stays: of_muon and not stays, chosen, still))):
            return
    raise ConfigError([f"{rule}: every phase freezes them all"])
