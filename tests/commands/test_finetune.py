"""`bert-jax finetune`, and what the other commands do with its workdir."""

import json

import pytest

from bert_jax.__main__ import main
from bert_jax.training.metrics import read_metrics
from tests import labelled
from tests.tiny_models import save_tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", labelled.WORDS, max_positions=32, num_layers=2)
    labelled.write(
        folder,
        task__max_length=32,
        train__batch_size=16,
        train__steps=6,
        train__eval_every=2,
        optim__learning_rate=3e-3,
    )
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(tmp_path_factory.mktemp("data")))
        yield


def finetune(made, workdir, *more):
    return main(
        [
            "finetune",
            f"--config={made / 'experiment.py'}",
            "--init",
            str(made / "model"),
            "--workdir",
            str(workdir),
            *more,
        ]
    )


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    assert finetune(made, workdir) == 0
    return workdir


def test_it_leaves_a_whole_workdir(run):
    assert {"config.json", "metrics.jsonl", "bert_jax.json", "tokenizer.json", "init.json", "loss.png"} <= {
        path.name for path in run.iterdir()
    }
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl") if line["split"] == "eval"] == [
        0,
        2,
        4,
        6,
    ]


def test_stopped_it_resumes_to_the_same_run(made, run, tmp_path, monkeypatch):
    from bert_jax.training import loop

    class _Killed(BaseException):
        pass

    real = loop._report

    def dies(run, phase, state, rate):
        if int(state.step) == 6:
            raise _Killed
        return real(run, phase, state, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_report", dies)
        with pytest.raises(_Killed):
            finetune(made, tmp_path / "run")
    # Without --init: the workdir knows the model.
    assert main(["finetune", f"--config={made / 'experiment.py'}", "--workdir", str(tmp_path / "run")]) == 0
    ours, theirs = (
        [
            {k: v for k, v in line.items() if not k.endswith("_per_s") and k != "mfu"}
            for line in read_metrics(w / "metrics.jsonl")
        ]
        for w in (tmp_path / "run", run)
    )
    assert ours == theirs


def test_data_may_move_but_not_change(made, run, tmp_path, capfd):
    moved = tmp_path / "moved.tsv"
    moved.write_text((made / "train.tsv").read_text())
    assert finetune(made, run, f"--config.task.train={moved}") == 0
    moved.write_text(moved.read_text().replace("the film was good", "the film was bad", 1))
    capfd.readouterr()
    assert finetune(made, run, f"--config.task.train={moved}") == 2
    assert "train: " in capfd.readouterr().err
    assert finetune(made, run) == 0  # where it was, for the other tests


def test_another_configuration_is_refused(made, run, capfd):
    assert finetune(made, run, "--config.optim.learning_rate=1e-4") == 2
    assert "optim.learning_rate: 0.0001 now, 0.003 there" in capfd.readouterr().err


def test_a_new_run_needs_a_model(made, tmp_path, capfd):
    assert main(["finetune", f"--config={made / 'experiment.py'}", "--workdir", str(tmp_path / "w")]) == 2
    assert "--init is missing" in capfd.readouterr().err


def test_pretrain_refuses_an_experiment_of_fine_tuning(made, tmp_path, capfd):
    assert main(["pretrain", f"--config={made / 'experiment.py'}", "--workdir", str(tmp_path / "w")]) == 2
    assert "bert-jax finetune" in capfd.readouterr().err


def test_config_prints_every_option(made, capfd):
    assert main(["config", f"--config={made / 'experiment.py'}"]) == 0
    out = capfd.readouterr().out
    assert "* task.train" in out and "  tuning.unfreeze_epochs" in out


def test_predict_classifies_in_order(run, tmp_path, capfd):
    (tmp_path / "texts.txt").write_text("the film was good .\nthe plot\tthe film\nthe plot was bad .\n")
    capfd.readouterr()
    assert (
        main(["predict", "--model", str(run), "--task", "classify", "--input", str(tmp_path / "texts.txt")])
        == 0
    )
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["the film was good .", "the plot", "the plot was bad ."]
    assert rows[1]["text_pair"] == "the film"
    assert all(set(row["probabilities"]) == {"good", "bad"} for row in rows)
    assert all(row["label"] == max(row["probabilities"], key=row["probabilities"].get) for row in rows)


def test_predict_compares_and_embeds_with_the_pooling_that_is_named(run, tmp_path, capfd):
    import bert_jax

    (tmp_path / "pairs.txt").write_text("the film was good .\tthe plot\nthe plot\tthe plot\n")
    words = ["predict", "--model", str(run)]
    capfd.readouterr()
    assert main([*words, "--task", "similarity", "--input", str(tmp_path / "pairs.txt")]) == 0
    first, same = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (first["text"], first["text_pair"]) == ("the film was good .", "the plot")
    assert first["similarity"] < same["similarity"] == pytest.approx(1, abs=1e-6)
    vectors = {}
    for pooling in ("mean", "cls"):
        assert main([*words, "--task", "embed", "--pooling", pooling, "the film"]) == 0
        vectors[pooling] = json.loads(capfd.readouterr().out)["vector"]
        assert vectors[pooling] == bert_jax.load(run).embed(["the film"], pooling=pooling)[0].tolist()
    assert vectors["mean"] != vectors["cls"]
    assert main([*words, "--task", "similarity", "the film"]) == 1
    assert "'the film' has no partner to compare it with" in capfd.readouterr().err
    assert main([*words, "--task", "classify", "--pooling", "cls", "the film"]) == 2
    assert (
        "--pooling must go with --task embed or similarity, not with --task classify"
        in capfd.readouterr().err
    )


def test_predict_refuses_a_model_without_a_head(made, capfd):
    assert main(["predict", "--model", str(made / "model"), "--task", "classify", "the film"]) == 1
    assert "task head is 'none'" in capfd.readouterr().err


def test_evaluate_and_export_open_the_run(run, tmp_path, capfd):
    assert main(["evaluate", "--workdir", str(run)]) == 0
    scores = json.loads(capfd.readouterr().out.splitlines()[-1])
    last = read_metrics(run / "metrics.jsonl")[-1]
    assert scores["accuracy"] == pytest.approx(last["accuracy"]) and scores["step"] == 6
    assert main(["export", "--workdir", str(run), "--format", "hf", "--out", str(tmp_path / "hf")]) == 0
    exported = json.loads((tmp_path / "hf/config.json").read_text())
    assert exported["architectures"] == ["BertForSequenceClassification"]
    assert exported["id2label"] == {"0": "bad", "1": "good"}


def test_seeds_are_runs_of_their_own_and_a_failed_one_is_named(made, tmp_path, capfd, monkeypatch):
    assert finetune(made, tmp_path / "s", "--seeds", "0,1", "--config.train.steps=2") == 0
    out = capfd.readouterr().out
    assert "2 seeds, 95 % interval" in out
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"seed0", "seed1", "loss.png"}
    (tmp_path / "s/seed2").mkdir()
    (tmp_path / "s/seed2/other").write_text("")
    assert finetune(made, tmp_path / "s", "--seeds", "0,2", "--config.train.steps=2") == 1
    captured = capfd.readouterr()
    assert "seed 2 failed" in captured.out and "1 of 2 seeds failed: 2" in captured.err


def test_evaluate_draws_a_page_with_the_confusions_and_the_worst_errors(run, tmp_path, capfd):
    (tmp_path / "hostile.tsv").write_text(
        "text\tlabel\nthe film was good .\tgood\nthe <script>alert(1)</script> was good .\tbad\n"
    )
    assert main(["evaluate", "--workdir", str(run), "--data", str(tmp_path / "hostile.tsv")]) == 0
    page = (run / "report.html").read_text()
    for title in ("Scores", "Confusion matrix", "learning rate", "Errors"):
        assert title in page
    assert "<script>" not in page and "&lt;script&gt;" in page
    scores = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert f"{round(2 * scores['accuracy'])} of 2 are exactly right" in page
    assert main(["evaluate", "--workdir", str(run), "--errors", "0"]) == 0
    assert "hostile.tsv" not in (run / "report.html").read_text()


def test_evaluate_scores_the_test_set_and_refuses_a_label_it_does_not_know(made, run, tmp_path, capfd):
    assert main(["evaluate", "--workdir", str(run), "--split", "test"]) == 1
    assert "config.task.test=''" in capfd.readouterr().err
    (tmp_path / "new.tsv").write_text("text\tlabel\nthe film\tgood\nthe plot\tawful\n")
    assert main(["evaluate", "--workdir", str(run), "--data", str(tmp_path / "new.tsv")]) == 1
    assert "new.tsv:3: label 'awful'" in capfd.readouterr().err
    assert main(["evaluate", "--workdir", str(run), "--data", str(made / "train.tsv")]) == 0
    scores = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert scores["accuracy"] == pytest.approx(read_metrics(run / "metrics.jsonl")[-1]["accuracy"])
