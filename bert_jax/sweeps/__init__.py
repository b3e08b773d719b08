"""Ablations: what a sweep is, where its trials stand, and what their numbers say. A sweep file imports from here."""

from bert_jax.sweeps.definition import Arm, Column, Published, Sweep, sized

__all__ = ["Arm", "Column", "Published", "Sweep", "sized"]
