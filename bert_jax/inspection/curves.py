"""Learning curves of one or more runs as one PNG."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_jax import atomic
from bert_jax.errors import UserError
from bert_jax.plotting import COLOURS, Drawing, png, style
from bert_jax.training.metrics import read_metrics

# Field of metrics.jsonl -> title of its panel.
_PANELS = {
    "mlm_loss": "MLM loss (nats per masked token)",
    "mlm_accuracy": "MLM accuracy",
    "z_loss": "z-loss (log Z squared, unweighted)",
    "rtd_loss": "RTD loss (nats per token)",
    "rtd_accuracy": "RTD accuracy",
    "rtd_recall": "RTD recall of replaced tokens",
    "replaced": "fraction of tokens replaced",
    "pair_loss": "pair loss (nats per pair)",
    "pair_accuracy": "pair accuracy",
    "class_loss": "loss (nats per text)",
    "class_accuracy": "accuracy",
    "label_loss": "loss (nats per label)",
    "token_loss": "loss (nats per word)",
    "token_accuracy": "accuracy of tags",
    "start_loss": "loss of the first token (nats per window)",
    "end_loss": "loss of the last token (nats per window)",
    "cosent_loss": "CoSENT loss",
    "partner_loss": "contrastive loss (nats per pair)",
    "partner_accuracy": "partners that are nearest",
    "mse": "squared error",
    "soft_loss": "soft targets (KL x T^2, or squared error)",
    "hidden_cosine_loss": "1 - cosine of the last hidden states",
    "hidden_mse_loss": "squared error of hidden states, all layers",
    "attention_mse_loss": "squared error of attention scores, all layers",
    "attention_kl_loss": "KL of attention (nats per token)",
    "query_relation_loss": "KL of query relations (nats per token)",
    "key_relation_loss": "KL of key relations (nats per token)",
    "value_relation_loss": "KL of value relations (nats per token)",
    "exact_match": "exact match",
    "best_f1": "F1 at the best threshold",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "grad_norm": "gradient norm",
    "skipped": "steps left out",
    "learning_rate": "learning rate",
}
_COLUMNS = 2
_SPLITS: dict[str, tuple[str, dict[str, Any]]] = {
    "train": ("training", {"alpha": 0.45}),
    "eval": ("held-out", {"marker": "o", "markersize": 3}),
}


def draw_curves(workdirs: Sequence[Path], out: Path) -> Path:
    """Draws the metrics of `workdirs`, told apart by colour, into `out` and returns it.

    Raises:
      UserError: a workdir has no metrics.
    """
    runs = {workdir: read_metrics(workdir / "metrics.jsonl") for workdir in workdirs}
    for workdir, lines in runs.items():
        if not lines:
            raise UserError(f"{workdir} has no metrics.jsonl with a line in it: nothing to draw")
    logged = {name for lines in runs.values() for line in lines for name in line}
    panels = {name: title for name, title in _PANELS.items() if name in logged}
    rows = -(-len(panels) // _COLUMNS)
    with style("light"):
        figure = Figure(figsize=(11, 3.1 * rows), layout="constrained")
        places = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
        for axes, (name, title) in zip(places, panels.items(), strict=False):
            for number, (workdir, lines) in enumerate(runs.items()):
                label = str(workdir) if len(runs) > 1 else ""
                _draw_run(axes, lines, name, colour=COLOURS[number % len(COLOURS)], label=label)
            axes.set_title(title)
            axes.set_xlabel("step")
            axes.legend()
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        atomic.write_bytes(out, png(figure, dpi=110))
    return out


def curves(lines: Sequence[Mapping[str, Any]]) -> list[Drawing]:
    """A plot for each metric of one run, of the lines of its metrics.jsonl."""
    logged = {name for line in lines for name in line}

    def paint(axes: Axes, name: str) -> None:
        _draw_run(axes, lines, name, colour=COLOURS[0], label="")
        axes.set_xlabel("step")
        axes.legend()

    return [
        Drawing(name=name, title=title, draw=functools.partial(paint, name=name))
        for name, title in _PANELS.items()
        if name in logged
    ]


def _draw_run(axes: Axes, lines: Sequence[Mapping[str, Any]], name: str, *, colour: str, label: str) -> None:
    for split, (words, look) in _SPLITS.items():
        points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=f"{label} {words}".strip(), **look)
