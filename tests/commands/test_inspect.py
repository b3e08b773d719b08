"""`bert-jax inspect`: flags to rows or a report, and faults in one line."""

import re

import pytest

from bert_jax.__main__ import main


def test_rows_of_a_step_are_printed(experiment, prepared, capsys):
    argv = ["inspect", "--config", str(experiment), "--step", "3", "--rows", "2"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^row (\d+)", out, re.MULTILINE) == ["24", "25"]  # batches of 8
    assert "\x1b" not in out
    assert main([*argv, "--split", "eval", "--step", "0", "--rows", "50"]) == 0
    assert len(re.findall("^row ", capsys.readouterr().out, re.MULTILINE)) == 8


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--rows", "0"], 2, "--rows 0 must be >= 1"),
        (["--step", "-1"], 2, "--step -1 must be >= 0"),
        (["--step", "12"], 2, "--step 12 must be < config.train.steps=12"),
        (["--step", "99", "--split", "eval"], 2, "--step 99 must be < "),
        (["--config.data.directory=nowhere"], 1, "no prepared corpus at nowhere"),
    ],
)
def test_a_fault_is_one_line(options, status, message, experiment, prepared, capsys):
    assert main(["inspect", "--config", str(experiment), *options]) == status
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if line.startswith("bert-jax: "))
    assert message in line
    assert "Traceback" not in err


def test_a_report_is_written_where_it_is_asked_for(experiment, prepared, tmp_path, capsys):
    argv = [
        "inspect",
        "--config",
        str(experiment),
        "--rows",
        "1",
        "--report",
        str(tmp_path / "new" / "report"),
    ]
    assert main(argv) == 0
    names = sorted(path.name for path in (tmp_path / "new" / "report").iterdir())
    assert names == ["report.html", "report.json", "report.txt"]
    assert capsys.readouterr().out.endswith(f"{tmp_path}/new/report/report.html\n")
