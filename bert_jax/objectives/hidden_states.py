"""What a student learns from a teacher's hidden states and vectors: their direction, or all of them.

Every function gives a loss for each place, float32 [X], X any leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.objectives.similarity import unit_vectors

Array = jax.Array


def cosine_distance(student_XD: Array, teacher_XD: Array) -> Array:
    """1 - cosine (Sanh et al. 2019, section 2)."""
    return 1 - jnp.sum(unit_vectors(student_XD) * unit_vectors(teacher_XD), axis=-1)


def squared_error(student_XD: Array, teacher_XD: Array) -> Array:
    """The mean over D of squared differences."""
    return jnp.mean(jnp.square(student_XD.astype(jnp.float32) - teacher_XD.astype(jnp.float32)), axis=-1)


def projected(projection: Any, student_XD: Array) -> Array:
    """The student's states in the teacher's width, float32: x W + b (Jiao et al. 2020, eq. 8; the released code adds the
    bias). projection: {"kernel", "bias"}."""
    x_XD = student_XD.astype(jnp.float32)
    y_XD = jnp.tensordot(x_XD, projection["kernel"], 1)
    return y_XD + projection["bias"].reshape((1,) * (y_XD.ndim - 1) + (-1,))


def mean_vector(vectors: Sequence[Array]) -> Array:
    """The mean of several teachers' unit vectors."""
    return jnp.mean(jnp.stack([unit_vectors(vectors_XD) for vectors_XD in vectors]), axis=0)
