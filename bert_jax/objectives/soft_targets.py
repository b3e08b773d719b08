"""What a student learns from a teacher's predictions: soft targets (Hinton et al. 2015, section 2).

Every function gives a loss for each place, float32 [X], X any leading axes; the caller weighs and sums. Of several
teachers the targets are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def soft_classes(student_XC: Array, teachers: Sequence[Array], *, temperature: float) -> Array:
    """T^2 KL(p || q), nats: q = softmax(student / T), p the mean of softmax(teacher / T) over the teachers.

    T^2 keeps the size of the gradient whatever T is. KL is the soft cross-entropy less the entropy of p, which the
    student does not change: the gradients are the same, and a perfect student has a loss of 0.
    """
    log_q_XC = jax.nn.log_softmax(student_XC.astype(jnp.float32) / temperature)
    log_ps = [jax.nn.log_softmax(teacher_XC.astype(jnp.float32) / temperature) for teacher_XC in teachers]
    return temperature**2 * kl(_mean_of_logs(log_ps), log_q_XC)


def soft_top(student_XC: Array, values_XK: Array, ids_XK: Array, *, temperature: float) -> Array:
    """`soft_classes` where only the K largest of the teacher's logits are known: p is their softmax alone, which adds up
    to 1 over them; q is the student's over all classes.

    values_XK: logits. ids_XK: the classes they belong to.
    """
    log_q_XC = jax.nn.log_softmax(student_XC.astype(jnp.float32) / temperature)
    log_p_XK = jax.nn.log_softmax(values_XK.astype(jnp.float32) / temperature)
    return temperature**2 * kl(log_p_XK, jnp.take_along_axis(log_q_XC, ids_XK, axis=-1))


def soft_labels(student_XC: Array, teachers: Sequence[Array], *, temperature: float) -> Array:
    """`soft_classes` of labels that do not exclude each other: T^2 times the mean over C of the KL of each yes or no."""
    z_XC = student_XC.astype(jnp.float32) / temperature
    ps = [jax.nn.sigmoid(teacher_XC.astype(jnp.float32) / temperature) for teacher_XC in teachers]
    p_XC = jnp.mean(jnp.stack(ps), axis=0)
    cross_XC = jax.nn.softplus(z_XC) - z_XC * p_XC
    entropy_XC = -(_x_log_x(p_XC) + _x_log_x(1 - p_XC))
    return temperature**2 * jnp.mean(cross_XC - entropy_XC, axis=-1)


def soft_numbers(student_X1: Array, teachers: Sequence[Array]) -> Array:
    """Squared difference of the numbers."""
    numbers = [teacher_X1[..., 0].astype(jnp.float32) for teacher_X1 in teachers]
    target_X = jnp.mean(jnp.stack(numbers), axis=0)
    return jnp.square(student_X1[..., 0].astype(jnp.float32) - target_X)


def kl(log_p_XC: Array, log_q_XC: Array) -> Array:
    """KL(p || q) over the last axis, nats, [X]; where p is 0 it adds nothing, whatever q is."""
    p_XC = jnp.exp(log_p_XC)
    return jnp.sum(jnp.where(p_XC > 0, p_XC * (log_p_XC - log_q_XC), 0), axis=-1)


def _mean_of_logs(log_ps: Sequence[Array]) -> Array:
    """log of the mean of distributions that are given as logs."""
    if len(log_ps) == 1:
        return log_ps[0]
    return jax.nn.logsumexp(jnp.stack(log_ps), axis=0) - jnp.log(jnp.float32(len(log_ps)))


def _x_log_x(x: Array) -> Array:
    return jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0)
