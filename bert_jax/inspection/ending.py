"""How a run ended: its curves and a short table."""

from __future__ import annotations

from pathlib import Path

from bert_jax.config import RunConfig
from bert_jax.console import table
from bert_jax.inspection.curves import draw_curves
from bert_jax.training.metrics import METRICS_FILE, read_metrics

_SHOWN = (
    "mlm_loss", "mlm_accuracy", "z_loss", "pair_loss", "pair_accuracy", "rtd_loss", "rtd_recall", "soft_loss", "hidden_cosine_loss",
    "hidden_mse_loss", "attention_mse_loss", "attention_kl_loss", "query_relation_loss", "key_relation_loss",
    "value_relation_loss",
)  # fmt: skip
_CAPITALS = {"mlm": "MLM", "rtd": "RTD", "mse": "MSE", "kl": "KL"}


def show_ending(workdir: Path, config: RunConfig) -> None:
    """Draws the curves and prints a table of the last values."""
    lines = read_metrics(workdir / METRICS_FILE)
    picture = draw_curves([workdir], workdir / "loss.png")
    rows = {"steps": f"{config.train.steps:,}", "curves": picture}
    held_out = [line for line in lines if line["split"] == "eval"]
    trained = [line for line in lines if line["split"] == "train"]
    if trained:
        rows["training loss"] = f"{trained[-1]['loss']:.3f}"
        rows["tokens/s"] = f"{trained[-1]['tokens_per_s']:,.0f}"
    if held_out:
        first, last = held_out[0], held_out[-1]
        for name in (name for name in _SHOWN if name in last):
            words = " ".join(_CAPITALS.get(word, word) for word in name.split("_"))
            rows[f"held-out {words}"] = f"{last[name]:.3f} (at step {first['step']}: {first[name]:.3f})"
    table(f"trained: {workdir}", rows)
