"""Text from files is text in a report: no page has an element, an attribute or a script that a file wrote."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from bert_jax.compilers import report as of_programs
from bert_jax.errors import UserError
from bert_jax.inspection import finetuned_page
from bert_jax.inspection import report as of_corpora
from bert_jax.probes import scores
from bert_jax.sweeps import store
from bert_jax.sweeps.definition import Column, Published
from bert_jax.sweeps.reporting.report import write_report
from bert_jax.tasks.predicted import Confusion, Judged
from tests.data.corpus import configs
from tests.sweeps.reporting import finished_sweep
from tests.test_html import Parsed

SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"""</td>{SCRIPT}<img src=x onerror="alert(2)"> & 'x' $\\frac{{$"""


def check(
    page: str, *, most_tags: tuple[str, ...] = ("script", "object", "iframe", "link", "a", "form", "svg")
) -> None:
    """Nothing in the page is of `HOSTILE` but text."""
    parsed = Parsed(page)
    assert not set(parsed.tags) & set(most_tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    outside = [value for name, value in parsed.attributes if name in ("src", "srcset", "href")]
    assert all(value.startswith("data:image/png;base64,") for value in outside)
    assert any(SCRIPT in text for text in parsed.text), "shown as it is"


def test_the_page_of_a_program():
    table = of_programs.Table(HOSTILE, (HOSTILE, "n"), [(HOSTILE, "1")])
    check(of_programs.page(HOSTILE, [table]))


def test_the_page_of_a_fine_tuned_run(tmp_path):
    line = {"step": 1, "split": "train", "loss": 1.0, HOSTILE: 2.0}
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "step": step}) + "\n" for step in (1, 2))
    )
    path = finetuned_page.write_page(
        tmp_path,
        title=HOSTILE,
        scores={HOSTILE: 0.5},
        judged=[Judged(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1.0)],
        confusion=Confusion((HOSTILE, "b"), np.array([[3, 1], [2, 4]])),
        errors=3,
    )
    check(path.read_text())


def test_the_page_of_a_corpus(tmp_path):
    from bert_jax.data.corpus.prepare import prepare

    text = "\n\n".join(f"{HOSTILE} one {number}.\n{HOSTILE} two." for number in range(12))
    config = configs.config_of(tmp_path, text=text, data__sequence_length=64, model__preset="bert-tiny")
    prepare(config)
    with contextlib.redirect_stdout(io.StringIO()):
        of_corpora.write_report(config, tmp_path / "out", rows=2, experiment=HOSTILE)
    check((tmp_path / "out" / "report.html").read_text())


def write_sweep(folder: Path) -> None:
    """A sweep whose every free text is hostile."""
    published = Published(
        source=HOSTILE,
        columns=(Column(HOSTILE, "mlm.accuracy"),),
        rows={HOSTILE: (54.9,)},
        variants={HOSTILE: "none"},
    )
    variants = {"none": (5.9, 0.52), "sop": (5.93, 0.68)}
    finished_sweep.write(
        folder, variants=variants, seeds=(0, 1), rows=200, failed="sop-seed1", published=published
    )
    plan = json.loads((folder / "sweep.json").read_text())
    plan["file"], plan["sweep"]["question"], plan["sweep"]["base"] = HOSTILE, HOSTILE, HOSTILE
    for variant in plan["sweep"]["variants"]:
        variant["values"]["data.path"] = HOSTILE
    (folder / "sweep.json").write_text(json.dumps(plan))
    for path in folder.glob("trials/*/probes.json"):
        found = json.loads(path.read_text())
        for part in found["breakdowns"]:
            part["axis"] = HOSTILE
            part["labels"] = [f"{HOSTILE}{label}" for label in part["labels"]]
        found["scores"]["mlm.loss"]["unit"] = HOSTILE
        path.write_text(json.dumps(found))
    failed = folder / "attempts" / "sop-seed1.jsonl"
    notes = [json.loads(line) for line in failed.read_text().splitlines()]
    failed.write_text(
        "".join(json.dumps(note | ({"reason": HOSTILE} if "reason" in note else {})) + "\n" for note in notes)
    )


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # labels wider than the picture
def test_the_page_of_a_sweep(tmp_path):
    write_sweep(tmp_path / "S")
    with contextlib.redirect_stdout(io.StringIO()):
        write_report(tmp_path / "S")
    page = (tmp_path / "S" / "report.html").read_text()
    check(page)
    assert page.count("&lt;script&gt;") > 10
    assert "\n<" not in (tmp_path / "S" / "report.md").read_text().replace("\\<", "")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", SCRIPT, "", "a/b", "a\nb"])
def test_a_variant_whose_name_is_no_file_name_is_refused(tmp_path, name):
    """It names the folders of its trials."""
    finished_sweep.write(tmp_path, seeds=(0,), rows=20)
    plan = json.loads((tmp_path / "sweep.json").read_text())
    plan["trials"][0]["variant"] = name
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"sweep\.json: not a sweep: .*must be letters, digits"):
        store.read_plan(tmp_path)


def test_what_a_probe_wrote_is_read_as_it_was(tmp_path):
    finished_sweep.write(tmp_path, seeds=(0,), rows=20)
    assert scores.read(tmp_path / "trials" / "none-seed0") is not None
