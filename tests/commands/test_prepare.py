"""`bert-jax prepare`: what it prints, and how it is stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from bert_jax.__main__ import main


def test_the_table_says_what_was_left_out_and_only_that(experiment, corpus, tmp_path, capsys):
    text = corpus.read_text()
    (tmp_path / "twice.txt").write_text(text + "\n" + text)
    command = ["prepare", "--config", str(experiment), f"--config.data.directory={tmp_path}", "--processes=1"]
    command += [f"--config.data.path={tmp_path}/twice.txt"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("prepared\n")
    assert re.search(r"^duplicate documents +60 *$", out, re.MULTILINE)
    assert "million characters per second" in out
    assert "boilerplate" not in out
    assert main(command) == 0
    again = capsys.readouterr().out
    assert again.startswith("already prepared\n")
    assert "per second" not in again


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_stops_it_and_the_same_command_goes_on(experiment, tmp_path, number, processes):
    file = tmp_path / "text.jsonl"
    line = json.dumps({"text": "The cat sees the red dog in the old garden. " * 1000}) + "\n"
    file.write_text(line * 500)
    command = [
        "prepare",
        "--config",
        str(experiment),
        f"--config.data.directory={tmp_path}/out",
        f"--processes={processes}",
    ]
    command += [f"--config.data.path={file}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bert_jax", *command], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(tmp_path.glob("out/*.partial/scanned-*.npz")):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    last = err.splitlines()[-1]
    assert last.startswith("bert-jax: stopped; what is done is kept in ")
    assert last.endswith(".partial: the same command goes on from there")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes=0"], "--processes 0 must be >= 1"),
        (["--processes=2", "--beam"], "--processes has no effect with --beam"),
        (["--beam=DirectRunner"], "--beam: 'DirectRunner' must be a pipeline option"),
        (["--beam='--runner"], "close the quotation"),
    ],
)
@pytest.mark.parametrize("is_beam_installed", [True, False])
def test_options_that_do_not_fit_are_usage(
    experiment, arguments, message, is_beam_installed, capsys, monkeypatch
):
    if not is_beam_installed:
        monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert main(["prepare", "--config", str(experiment), *arguments]) == 2
    assert message in capsys.readouterr().err
