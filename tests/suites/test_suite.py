"""A suite: several tasks from one model, the best of a grid, the table and the server's files."""

import json

import pytest

from bert_jax.__main__ import main
from bert_jax.errors import ConfigError, UsageError
from bert_jax.suites import definition
from bert_jax.suites import run as suites
from bert_jax.suites.run import TaskResult
from bert_jax.training.metrics import read_metrics
from tests.tiny_models import save_tiny

WORDS = ["good", "bad", "film", "plot", "the", "was", "."]
LABELS = {
    "mnli": ("entailment", "neutral", "contradiction"),
    "rte": ("entailment", "not_entailment"),
    "stsb": None,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three of GLUE's tasks, small, and a suite of them."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS, num_layers=1)
    for name, labels in LABELS.items():
        rows = [
            f"the {WORDS[2 + i % 2]} was {WORDS[i % 2]}\tthe film .\t{labels[i % len(labels)] if labels else i % 5}"
            for i in range(24)
        ]
        (folder / f"{name}.tsv").write_text("sentence1\tsentence2\tlabel\n" + "\n".join(rows) + "\n")
        kind = "classification" if labels else "regression"
        (folder / f"{name}.py").write_text(
            f"""
from bert_jax.config import FinetuneConfig, base
def get_config():
    config = base(FinetuneConfig)
    config.task.kind = {kind!r}
    config.task.train = config.task.eval = {str(folder / f"{name}.tsv")!r}
    config.task.labels = {labels or ()!r}
    config.task.max_length = 32
    config.train.batch_size = 8
    config.train.steps = 2
    config.log.sinks = ()
    return config
"""
        )
    (folder / "suite.py").write_text(
        f"""
from bert_jax.suites import Suite
def get_suite():
    return Suite(
        tasks={{name: name + ".py" for name in {list(LABELS)}}},
        starts={{"rte": "mnli"}},
        grid={{"optim.learning_rate": (1e-3, 1e-2)}},
        seeds=(0, 1),
        further={{"mnli": {{"mismatched": {str(folder / "mnli.tsv")!r}}}}},
        is_glue=True,
        submissions={{"rte": {str(folder / "rte.tsv")!r}, "stsb": {str(folder / "stsb.tsv")!r}, "ax": {str(folder / "mnli.tsv")!r}}},
    )
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        yield folder


def run(made, workdir, *more):
    words = [
        "finetune",
        "--suite",
        str(made / "suite.py"),
        "--init",
        str(made / "model"),
        "--workdir",
        str(workdir),
    ]
    return main([*words, *more])


@pytest.mark.slow
def test_the_best_of_the_grid_over_seeds_is_shown_beside_published_rows(made, tmp_path):
    assert run(made, tmp_path / "s", "--only", "stsb") == 0
    table = (tmp_path / "s/suite.md").read_text()
    assert "| this model |" in table and "| BERT-base |" in table
    [found] = json.loads((tmp_path / "s/suite.json").read_text())
    means = {
        point: sum(
            read_metrics(tmp_path / f"s/stsb/{point}/seed{seed}/metrics.jsonl")[-1]["pearson"]
            for seed in (0, 1)
        )
        / 2
        for point in ("learning_rate=0.001", "learning_rate=0.01")
    }
    assert means[found["chosen"]] == max(means.values())
    scores = found["scores"]
    assert scores["pearson"]["mean"] == pytest.approx(max(means.values()))
    assert scores["score"]["mean"] == pytest.approx(
        (scores["pearson"]["mean"] + scores["spearman"]["mean"]) / 2
    )
    assert [path.name for path in (tmp_path / "s/submission").iterdir()] == ["STS-B.tsv"]


@pytest.mark.slow
def test_a_task_begins_with_the_best_run_of_another_and_the_servers_files_are_written(made, tmp_path):
    assert run(made, tmp_path / "s", "--only", "mnli,rte", "--seeds", "3") == 0
    mnli, rte = json.loads((tmp_path / "s/suite.json").read_text())
    saved = json.loads((tmp_path / "s/rte/learning_rate=0.01/seed3/init.json").read_text())
    assert mnli["model"] in json.dumps(saved)
    scores = mnli["scores"]
    assert scores["mismatched_accuracy"]["mean"] == pytest.approx(scores["accuracy"]["mean"])
    assert rte["scores"]["score"]["margin"] is None  # one seed has no interval
    for name, task in (("RTE", "rte"), ("AX", "mnli")):
        lines = (tmp_path / f"s/submission/{name}.tsv").read_text().splitlines()
        assert len(lines) == 25 and {line.split("\t")[1] for line in lines[1:]} <= set(LABELS[task])


def test_without_the_task_it_begins_with_a_task_begins_with_init(made, tmp_path, monkeypatch, caplog):
    begun = []

    def play(plan, task, points, folder, *, init, command):
        begun.append((task, init))
        return TaskResult(name=task, chosen="", scores={}, model=None, faults=("it failed",))

    monkeypatch.setattr(suites, "_task", play)
    for only in (["rte"], ["mnli", "rte"]):
        plan = definition.load(str(made / "suite.py"), only=only)
        results = suites.run_suite(plan, tmp_path, init="a model", command="")
    assert begun == [("rte", "a model"), ("mnli", "a model")]
    assert "rte begins with --init, as mnli is not run" in caplog.text
    assert results[1].faults == ("it begins with mnli, of which every run failed",)


def test_a_suite_that_cannot_be_run_is_refused_before_anything_runs(made, tmp_path, capfd):
    (made / "faulty.py").write_text(
        """
from bert_jax.suites import Suite
def get_suite():
    tasks = {"rte": "rte.py", "mnli": "mnli.py", "x": "rte.py"}
    return Suite(tasks=tasks, starts={"rte": "mnli"}, is_glue=True)
"""
    )
    with pytest.raises(ConfigError) as error:
        definition.load(str(made / "faulty.py"), ["optim.learning_rat=1"])
    text = str(error.value)
    assert "rte begins with mnli" in text and "'x' must be one of GLUE's" in text
    assert "optim.learning_rat is unknown" in text
    with pytest.raises(UsageError, match=r"--only sst must be one of mnli, rte, stsb"):
        definition.load(str(made / "suite.py"), only=["sst"])
    (made / "distilled.py").write_text(
        "from bert_jax.suites import Suite\ndef get_suite():\n"
        "    return Suite(tasks={'a': 'mnli.py'}, grid={'distil.soft': (1.0,)})\n"
    )
    with pytest.raises(UsageError, match="bert-jax distill"):  # a suite has no teacher
        definition.load(str(made / "distilled.py"))
    several = ["--coordinator", "localhost:1", "--processes", "2", "--process-id", "0"]
    assert run(made, tmp_path / "w", *several) == 2
    assert "--suite runs in one process" in capfd.readouterr().err
    assert main(["finetune", "--workdir", str(tmp_path / "w")]) == 2
    assert "give --config FILE, or --suite" in capfd.readouterr().err
