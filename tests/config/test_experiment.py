"""Errors of the file that defines an experiment: one line with file, line, type and message, and status 2."""

import re

import pytest

from bert_jax.config import experiment
from bert_jax.errors import ConfigError, UsageError, UserError

FUNCTION = "from bert_jax.config import base\n\n\ndef get_config():\n    config = base()\n    {}\n    return config\n"


def call(tmp_path, text, argument=""):
    file = tmp_path / "x.py"
    file.write_text(text)
    return experiment.call(f"{file}{argument}", "get_config", flag="--config=")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\ndef get_config(:\n", "2: SyntaxError: invalid syntax"),
        ("a = 1\n\nb = c\n", r"3: NameError: name 'c' is not defined"),
        ("import no_such_package\n", "1: ModuleNotFoundError: No module named 'no_such_package'"),
        (FUNCTION.format("config.seed = 1 / 0"), "6: ZeroDivisionError: division by zero"),
        (FUNCTION.format("raise ValueError"), "6: ValueError$"),
        (
            FUNCTION.format("raise OSError(2, 'No such file', 'seed.txt')"),
            r"6: FileNotFoundError: .*seed\.txt",
        ),
        (
            FUNCTION.format("config.optim.learning_rat = 1"),
            '6: AttributeError: Key "learning_rat" does not exist',
        ),
        (FUNCTION.format("config.optim.learning_rat"), "6: AttributeError: 'learning_rat'"),
        (FUNCTION.format("config['optm']"), "6: KeyError: 'optm'"),
        (FUNCTION.format("config.train.steps = 'ten'"), "6: TypeError: Could not override field 'steps'"),
    ],
)
def test_an_error_names_its_place(text, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        call(tmp_path, text)
    assert re.match(rf"{re.escape(str(tmp_path))}/x\.py:{message}", str(caught.value))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    assert isinstance(caught.value.__cause__, Exception)


def test_the_last_line_of_the_file_that_ran_is_named(tmp_path):
    """Not the line of get_config() that calls the helper, nor one of the library that raises."""
    text = (
        "import json\n\ndef helper():\n    return json.loads('{')\n\ndef get_config():\n    return helper()\n"
    )
    with pytest.raises(ConfigError, match=r"x\.py:4: JSONDecodeError: "):
        call(tmp_path, text)


def test_a_wrong_argument_names_the_function(tmp_path):
    text = FUNCTION.format("pass")
    with pytest.raises(ConfigError, match=r"x\.py:4: TypeError: get_config\(\) takes 0 positional arguments"):
        call(tmp_path, text, ":large")


def test_a_missing_function_is_a_usage_error(tmp_path):
    for text in ("", "get_config = 1\n"):
        with pytest.raises(UsageError, match=r"--config=.*x\.py: the file must define get_config\(\)"):
            call(tmp_path, text)


def test_an_error_of_bert_jax_is_not_reworded(tmp_path):
    text = FUNCTION.format("from bert_jax.errors import UserError; raise UserError('the corpus is empty')")
    with pytest.raises(UserError, match=r"^the corpus is empty$"):
        call(tmp_path, text)


@pytest.mark.parametrize("stop", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_what_is_no_error_passes(stop, tmp_path):
    for text in (f"raise {stop}\n", FUNCTION.format(f"raise {stop}")):
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            call(tmp_path, text)
