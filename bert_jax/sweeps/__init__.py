"""Ablations: the definition of a sweep, the state of its trials, its report. Sweep files import from here."""

from bert_jax.sweeps.definition import Column, Published, Sweep, Variant, sized

__all__ = ["Column", "Published", "Sweep", "Variant", "sized"]
