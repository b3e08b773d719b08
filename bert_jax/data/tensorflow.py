"""TensorFlow, for reading data alone."""

from __future__ import annotations

import functools
import os
from types import ModuleType


@functools.cache
def load() -> ModuleType:
    """The module, which is told to leave the accelerators to JAX and to greet nobody at its import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf
