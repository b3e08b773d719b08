"""How an error ends the program: its exit status and the line that replaces its traceback."""

import errno

import pytest

from bert_jax.errors import (
    CheckpointMismatch,
    ConfigError,
    Interrupted,
    UsageError,
    UserError,
    exit_status,
    summary,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("x"), 1),
        (CheckpointMismatch("x"), 1),
        (UsageError("x"), 2),
        (ConfigError(["x"]), 2),
        (Interrupted("x", 15), 143),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "full"), 1),
        (KeyError("x"), 1),
    ],
    ids=repr,
)
def test_exit_status(error, status):
    assert exit_status(error) == status


def test_a_config_error_lists_every_fault():
    error = ConfigError(["a", "b"])
    assert error.faults == ("a", "b")
    assert summary(error) == "a\nb"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "w/x"), "Read-only file system: w/x"),
        (PermissionError(errno.EACCES, "Permission denied", "w/x"), "Permission denied: w/x"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "w/x"),
            "No such file or directory: w/x",
        ),
    ],
    ids=repr,
)
def test_a_fault_of_the_disk_or_of_a_path_is_its_reason(error, line):
    assert summary(error) == line


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),  # which file?
        TimeoutError("the save took too long"),
        OSError(),
    ],
    ids=repr,
)
def test_any_other_os_error_names_type_and_place(error):
    with pytest.raises(OSError) as caught:  # noqa: PT011 # three types; the message is what is tested
        raise error
    line = summary(caught.value)
    assert line.startswith(f"{type(error).__name__} in {__file__}:")
    assert "run again with -v" in line
    assert "\n" not in line


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), SystemExit(1)], ids=repr)
def test_a_bug_has_no_summary(error):
    assert summary(error) is None
