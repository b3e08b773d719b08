"""Benchmarks of several tasks, fine-tuned from one model. Suite files import from here."""

from bert_jax.suites.definition import Suite

__all__ = ["Suite"]
