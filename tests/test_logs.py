"""What is logged at each verbosity, and where."""

import logging
import sys
import warnings

import pytest

from bert_jax import logs
from bert_jax.progress import bar


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """The process-wide state that `configure` changes, as it was."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    loggers = [logging.getLogger(name) for name in (None, "bert_jax", "absl", "asyncio")]
    levels, handlers = [logger.level for logger in loggers], list(logging.getLogger().handlers)
    with warnings.catch_warnings():
        yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def lines(capsys, verbosity):
    """What each kind of record looks like on stderr."""
    logs.configure(verbosity)
    ours, theirs = logging.getLogger("bert_jax.training.x"), logging.getLogger("jax._src.x")
    ours.debug("detail")
    ours.info("fact")
    ours.warning("doubt %d", 7)
    ours.error("fault")
    theirs.info("their fact")
    theirs.warning("their doubt")
    logging.getLogger("absl").error("a write failed")
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_normal(capsys):
    ours = ["fact", "bert-jax: warning: doubt 7", "bert-jax: error: fault"]
    assert lines(capsys, "normal") == [*ours, "warning of jax._src.x: their doubt"]


def test_quiet(capsys):
    assert lines(capsys, "quiet") == ["bert-jax: error: fault"]
    with warnings.catch_warnings(record=True) as caught:
        logs.configure("quiet")
        warnings.warn("x", UserWarning, stacklevel=1)
    assert caught == []


def test_verbose(capsys):
    found = lines(capsys, "verbose")
    assert found[:2] == ["debug of bert_jax.training.x: detail", "fact"]
    assert found[-3:] == ["info of jax._src.x: their fact", "warning of jax._src.x: their doubt", "error of absl: a write failed"]  # fmt: skip


def test_a_second_configuration_replaces_the_first(capsys):
    lines(capsys, "verbose")
    assert lines(capsys, "quiet") == ["bert-jax: error: fault"]


def test_a_message_stands_above_the_bar(capsys):
    logs.configure()
    with bar(description="counting", total=2) as progress:
        progress.update()
        logging.getLogger("bert_jax").info("fact")
    err = capsys.readouterr().err
    assert "\rfact\n" in err or "\nfact\n" in err
    assert "counting" in err.split("fact\n")[1]


@pytest.mark.parametrize(("verbosity", "shown"), [("quiet", False), ("normal", True), ("verbose", True)])
def test_quiet_has_no_bars(verbosity, shown, capsys):
    logs.configure(verbosity)
    assert list(bar(range(3), description="counting")) == [0, 1, 2]
    assert ("counting" in capsys.readouterr().err) == shown
