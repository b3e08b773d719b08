"""The state a run begins with: fresh, or with the parameters of another model."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax

from bert_jax import api
from bert_jax.commands.assembly import Assembly
from bert_jax.errors import UsageError
from bert_jax.interop.surgery import InitReport, adapt, check_architecture
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.state import TrainState

REPORT_FILE = "init.json"


def new_state(
    parts: Assembly, init: Path | None, tokenizer: Tokenizer
) -> tuple[TrainState, InitReport | None]:
    """The state before step 0, on its devices, and what of `init` is in it; None: nothing, it is fresh.

    tokenizer: the run's.

    Raises:
      UsageError: `init` is given to a run of replaced-token detection.
      UserError: `init` is no model, or not one that the run's model can take parameters from.
    """
    if init is None:
        return parts.new_state(), None
    if parts.config.objective.name == "rtd":
        raise UsageError(
            f"--init {init} is one encoder, config.objective.name=rtd trains two, of which the generator would"
            " be untrained: go on with --config.objective.name=mlm, or leave out --init"
        )
    config, params, its_tokenizer, loaded = api.load_parts(init)
    check_architecture(config, to=parts.config.model, place=str(init))  # before anything is compiled
    state = parts.new_state()
    # Whole on each device first: every process must see all of it, also where it is sharded over them.
    whole = jax.jit(lambda tree: tree, out_shardings=parts.plan.replicated)(state.params)
    adapted, report = adapt(
        params,
        config,
        its_tokenizer,
        to=parts.config.model,
        to_tokenizer=tokenizer,
        fresh=jax.device_get(whole),
        place=str(init),
    )
    if loaded:
        report = dataclasses.replace(report, unread=loaded.unexpected)
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), adapted, state.params)
    return dataclasses.replace(state, params=placed), report


def tell(report: InitReport, init: Path, workdir: Path) -> None:
    """Prints what was taken, and keeps it in the workdir."""
    print(f"starting from {init}", file=sys.stderr)
    for line in report.lines():
        print(f"  {line}", file=sys.stderr)
    text = json.dumps({"init": str(init), **report.to_dict()}, indent=1)
    (workdir / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
