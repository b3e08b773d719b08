"""Learning curves of one run and of several."""

import json

import pytest
from matplotlib.image import imread

from bert_jax.errors import UserError
from bert_jax.inspection.curves import draw_curves


def write_run(workdir, fields):
    lines = [
        {"step": step, "split": split, **{name: 1.0 / (1 + step) for name in fields}}
        for step in (0, 5, 10)
        for split in ("train", "eval")
    ]
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return workdir


def test_panels_are_of_the_fields_that_were_logged(tmp_path):
    few = write_run(tmp_path / "few", ["mlm_loss", "unknown"])
    many = write_run(tmp_path / "many", ["mlm_loss", "mlm_accuracy", "grad_norm"])
    out = tmp_path / "few" / "loss.png"
    assert draw_curves([few], out) == out
    one_line, two_lines = imread(out), imread(draw_curves([few, many], tmp_path / "both.png"))
    assert two_lines.shape[0] == pytest.approx(2 * one_line.shape[0], rel=0.02)
    assert two_lines.shape[1] == one_line.shape[1]
    assert sorted(path.name for path in (tmp_path / "few").iterdir()) == ["loss.png", "metrics.jsonl"]


def test_a_folder_without_metrics_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no metrics\.jsonl"):
        draw_curves([tmp_path], tmp_path / "none.png")
