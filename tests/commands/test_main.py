"""The command line: help, exit statuses, errors as single lines, and how much is logged."""

import errno
import logging
import os
import re
import shlex
import subprocess
import sys

import pytest

from bert_jax import logs
from bert_jax.__main__ import COMMANDS, main
from bert_jax.commands import split_overrides
from bert_jax.errors import UserError
from bert_jax.training.checkpoint import Checkpoints


@pytest.fixture(autouse=True)
def normal_verbosity():
    yield
    logs.configure()  # for the tests that follow: logging is set up for the whole process


def call(capsys, *argv):
    """(exit status, stdout, stderr) of a command run in this process."""
    try:
        status = main(argv)
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_names_every_command(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_says_what_it_does(command, capsys):
    status, out, _ = call(capsys, command, "--help")
    assert status == 0
    assert out.startswith(f"usage: bert-jax {command}")
    assert len(out.splitlines()) > 6


def test_no_parser_imports_jax_or_tensorflow():
    """--help and a misspelt option answer at once, and `logs.configure` comes before either is imported."""
    code = (
        "import sys; from bert_jax.__main__ import COMMANDS, build_parser\n"
        "for command in COMMANDS: build_parser(command)\n"
        "print({'jax', 'tensorflow'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["prepare", "--config", "nowhere.py"], 2, "--config=nowhere.py: no such file: nowhere.py"),
        (["bench", "--what", "prepare", "--baseline", "hf", "--config", "x.py"], 2, "--baseline hf has no effect"),
        (["predict", "--model", "nowhere", "--task", "embed", "hi"], 1, "no such directory: nowhere"),
        (["evaluate", "--workdir", "nowhere"], 1, "nowhere is not a workdir: it has no config.json"),
        (["export", "--workdir", "nowhere", "--format", "hf", "--out", "o"], 1, "nowhere is not the folder of a run"),
        (["plot", "--workdir", "nowhere"], 1, "nowhere has no metrics.jsonl"),
        (["evaluate", "--workdir", "x", "--config.seed=1"], 2, "--config.seed=1 has no effect here"),
        (["pretrain", "--config", "x.py", "--workdir", "w", "--config.seed"], 2, "--config.seed needs a value"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_the_right_status(argv, status, message, capsys):
    found, _, err = call(capsys, *argv)
    assert found == status
    assert message in err
    assert err.startswith("bert-jax: ")
    assert err.count("\n") == 1


def _raise(error):
    raise error


@pytest.fixture
def failing(monkeypatch):
    """A function that makes `bert-jax config` raise an error, and calls it with some options."""

    def call_with(capsys, error, *options, after=()):
        monkeypatch.setattr("bert_jax.commands.config.main", lambda args: _raise(error))
        return call(capsys, *options, "config", *after, "--config", "x.py")

    return call_with


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("the corpus is empty"), 1, "bert-jax: the corpus is empty\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "bert-jax: No space left on device\n"),
        (KeyboardInterrupt(), 130, "bert-jax: interrupted\n"),
    ],
)
def test_what_the_user_can_correct_is_one_line(error, status, message, failing, capsys):
    assert failing(capsys, error) == (status, "", message)


def test_an_os_error_that_is_no_disks_names_its_place(failing, capsys):
    status, _, err = failing(capsys, ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    assert status == 1
    assert re.fullmatch(
        r"bert-jax: ConnectionRefusedError in .*test_main\.py:\d+: Connection refused; .* -v .*\n", err
    )


def test_a_bug_is_raised(failing, capsys):
    with pytest.raises(KeyError, match="params"):
        failing(capsys, KeyError("params"))


@pytest.mark.parametrize(("before", "after"), [(["-v"], []), ([], ["--verbose"])])
def test_verbose_shows_the_traceback(before, after, failing, capsys):
    status, _, err = failing(capsys, UserError("the corpus is empty"), *before, after=after)
    assert status == 1
    assert "Traceback (most recent call last)" in err
    assert err.endswith("\nbert-jax: the corpus is empty\n")


@pytest.mark.parametrize(("before", "after"), [(["-q"], []), ([], ["--quiet"])])
def test_quiet_shows_errors_alone(before, after, failing, capsys, experiment):
    assert failing(capsys, UserError("x"), *before, after=after) == (1, "", "bert-jax: x\n")
    assert not logging.getLogger("bert_jax.data").isEnabledFor(logging.WARNING)


def test_verbose_and_quiet_exclude_each_other(failing, capsys):
    status, _, err = failing(capsys, UserError("x"), "-v", after=["-q"])
    assert status == 2
    assert "--verbose and --quiet" in err


def test_an_unknown_command_is_usage(capsys):
    status, _, err = call(capsys, "pretrian")
    assert status == 2
    assert "invalid choice: 'pretrian'" in err


def test_every_fault_of_a_config_at_once(experiment, capsys):
    status, _, err = call(
        capsys, "config", "--config", str(experiment), "--config.optim.lr=1", "--config.train.steps", "ten"
    )
    assert status == 2
    assert "config.optim.lr is unknown" in err
    assert "config.train.steps='ten' must be a whole number" in err


def test_config_prints_every_value_and_marks_what_differs(experiment, capsys):
    status, out, _ = call(capsys, "config", "--config", str(experiment), "--config.seed=5")
    assert status == 0
    assert "* seed                             5 " in out
    assert "  optim.b1                         0.9 " in out


def test_a_batch_that_does_not_divide_is_usage(experiment, prepared, tmp_path, capsys):
    argv = [
        "pretrain",
        "--config",
        str(experiment),
        "--config.train.batch_size=9",
        "--workdir",
        str(tmp_path / "w"),
    ]
    status, _, err = call(capsys, *argv)
    assert status == 2
    assert "config.train.batch_size=9 must be a multiple of 8 = 8 devices" in err
    assert not (tmp_path / "w").exists()


def test_an_unwritable_workdir_is_one_line(experiment, prepared, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    status, _, err = call(
        capsys, "pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "file" / "run")
    )
    assert status == 1
    assert err.splitlines()[-1].startswith("bert-jax: Not a directory: ")


def call_with_files_up_to(size, *argv):
    """The command in a process that may write no file larger than `size` bytes: a disk that fills."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    code = f"{limit}; import sys; from bert_jax.__main__ import main; sys.exit(main(sys.argv[1:]))"
    # jax's own cache would not fit either, and jax says so in its own words.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, env=environment
    )


def test_a_corpus_that_does_not_fit_goes_on_where_there_is_room(experiment, tmp_path):
    command = ("prepare", "--config", str(experiment), f"--config.data.directory={tmp_path}", "--processes=1")
    done = call_with_files_up_to(5000, *command)
    assert done.returncode == 1
    assert re.fullmatch(
        r"bert-jax: .* cannot be written: .*; free space there and run the same command again, which continues from"
        r" there, or set config\.data\.directory",
        done.stderr.splitlines()[-1],
    )
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    assert main(command) == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_one_line_and_is_not_trusted(experiment, prepared, tmp_path):
    arguments = ("pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "run"))
    done = call_with_files_up_to(30_000, *arguments)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("bert-jax: "))
    assert re.search(r"checkpoint.* could not be written: .*File too large", line)
    assert not re.search("Traceback|Warning|exception", done.stderr)
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--config.a.b=1", "x"], (["x"], ["a.b=1"])),
        (["--config.a.b", "1", "--config", "f"], (["--config", "f"], ["a.b=1"])),
        (["--config=f", "--config.a.b=x=y"], (["--config=f"], ["a.b=x=y"])),
    ],
)
def test_overrides_are_taken_out(argv, expected):
    assert split_overrides(argv) == expected


@pytest.mark.parametrize("by_file", [True, False])
def test_a_byte_order_mark_is_no_text(by_file, straight, tmp_path, monkeypatch, capsys):
    def predict(data):
        (tmp_path / "texts.txt").write_bytes(data)
        words = ["predict", "--model", str(straight), "--task", "embed"]
        with (tmp_path / "texts.txt").open(encoding="utf-8") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            status = main([*words, "--input", stream.name] if by_file else words)
        return status, *capsys.readouterr()

    plain = predict(b"the cat\r\n\r\na dog\n")
    assert plain[0] == 0 and plain[1].count("\n") == 2
    assert predict(b"\xef\xbb\xbfthe cat\r\n\r\na dog\n") == plain
    for encoding in ("utf-16", "utf-32"):
        status, out, err = predict("the cat\n".encode(encoding))
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "begins with the byte-order mark of UTF-16, must be UTF-8" in err
    assert predict(b"caf\xe9\n")[0] == 1


def test_the_command_that_prepares_repeats_the_overrides(experiment, tmp_path, capsys):
    directory = tmp_path / "a folder"
    given = [f"--config.data.directory={directory}", "--config.cleaning.min_characters", "3"]
    begin = ["pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "run"), *given]
    assert main(begin) == 1
    message = capsys.readouterr().err
    command = shlex.split(message.partition("`")[2].partition("`")[0])
    assert command[:2] == ["bert-jax", "prepare"]
    assert main(command[1:]) == 0
    capsys.readouterr()
    for verb in (["inspect"], ["bench", "--what", "pipeline", "--seconds", "0.01", "--repeats", "1"]):
        assert main([*verb, "--config", str(experiment), *given]) == 0
    other = "--config.cleaning.min_characters=4"
    for verb in (["inspect"], ["bench", "--what", "pipeline"]):
        capsys.readouterr()
        assert main([*verb, "--config", str(experiment), *given, other]) == 1
        assert f"{other}` first" in capsys.readouterr().err
