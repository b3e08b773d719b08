"""`bert-jax augment`: a larger file that the labelled readers take, and one line for what is wrong."""

import pytest

from bert_jax.__main__ import main
from bert_jax.commands import augment
from bert_jax.data.labelled.open import read_texts
from tests.tiny_models import save_tiny

WORDS = ["film", "plot", "actor", "good", "bad", "slow", "the", "was", "##s"]
LINES = "sentence\tlabel\tsource\nthe good film\t1\tx\nit was\t0\ty\nBad plots\t0\tz\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("m") / "model", WORDS)


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text(LINES)
    return file


def command(model, source, output, *more):
    return main(["augment", "--model", str(model), "--input", str(source), "--output", str(output), *more])


def test_each_row_comes_with_its_copies_and_its_label(model, source, tmp_path, capsys):
    output = tmp_path / "aug.tsv"
    assert command(model, source, output, "--copies", "7", "--seed", "3", "--probability", "0.8") == 0
    lines = output.read_text().splitlines()
    assert capsys.readouterr().out == f"{output}: {len(lines) - 1} rows, 3 of them the originals\n"
    assert [lines[0], lines[1]] == LINES.splitlines()[:2] and set(LINES.splitlines()) < set(lines)
    assert len(set(lines)) == len(lines) > 8
    rows = [line.split("\t") for line in lines[1:]]
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert {tuple(row[1:]) for row in rows} == {("1", "x"), ("0", "y"), ("0", "z")}
    assert all(row[0].startswith("the ") for row in rows if row[2] == "x")
    assert all(row[0].istitle() or row[0].split()[0].istitle() for row in rows if row[2] == "z")
    found = read_texts(str(output), label="class").examples
    assert [example.text for example in found] == [row[0] for row in rows]
    again = tmp_path / "again.tsv"
    assert command(model, source, again, "--copies=7", "--seed=3", "--probability=0.8") == 0
    assert again.read_text() == output.read_text()
    assert command(model, source, again, "--copies=7", "--seed=4", "--probability=0.8") == 0
    assert again.read_text() != output.read_text()


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (["--text", "review"], "there is no column 'review'; it has: sentence, label, source"),
        (["--candidates", "0"], "candidates=0 must be >= 1"),
        (["--copies", "0"], "copies=0 must be >= 1"),
        (["--probability", "2"], "probability=2.0 must be in (0, 1]"),
        (["--config.seed=1"], "--config.seed=1 has no effect here"),
    ],
)
def test_what_is_wrong_is_one_line(more, rule, model, source, tmp_path, capsys):
    assert command(model, source, tmp_path / "aug.tsv", *more) != 0
    error = capsys.readouterr().err.strip()
    assert rule in error and "\n" not in error
    assert list(tmp_path.iterdir()) == [source]


def test_unreadable_files_and_models_are_one_line(model, source, tmp_path, capsys):
    source.write_bytes(b"sentence\tlabel\nfilm\t1\n\xff\t0\n")
    for place, given, rule in (
        (model, source, "train.tsv:3: byte 0xff"),
        (model, tmp_path / "none.tsv", "no such file"),
        (tmp_path / "nothing", source, "nothing"),
    ):
        assert command(place, given, tmp_path / "aug.tsv") == 1
        error = capsys.readouterr().err.strip()
        assert rule in error and "\n" not in error
    assert list(tmp_path.iterdir()) == [source]


def test_it_runs_from_python_too(model, source, tmp_path, capsys):
    augment.run(model, str(source), tmp_path / "aug.tsv", candidates=2)
    assert "3 of them the originals" in capsys.readouterr().out
