"""TensorFlow is quiet and sees no accelerator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import os, sys
from bert_jax.data.tensorflow import tensorflow
assert "tensorflow" not in sys.modules
tf = tensorflow()
assert tf is sys.modules["tensorflow"] and tensorflow() is tf
print(os.environ["TF_CPP_MIN_LOG_LEVEL"], tf.config.get_visible_devices("GPU"))
"""


def test_it_is_imported_at_the_first_call_without_a_word_and_without_gpus():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    child = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout == "2 []\n"
