"""TensorFlow as the input pipeline uses it: quiet, and on the CPU alone."""

from __future__ import annotations

import functools
import os
from types import ModuleType


@functools.cache
def tensorflow() -> ModuleType:
    """The module, imported at the first call, which also hides the accelerators from it: they are JAX's.

    Without that, TensorFlow reserves the GPU memory that JAX needs. Call it before anything else imports TensorFlow:
    its log level is read at the import.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors alone; TensorFlow logs a page on import
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow
