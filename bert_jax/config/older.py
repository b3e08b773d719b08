"""Configurations that earlier versions saved, as this version has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOVED = {
    "attention": "positions",
    "layer_norm_eps": "norm.eps",
    "relative_span": "relative.span",
    "relative_buckets": "relative.buckets",
    "relative_terms": "relative.terms",
    "relative_projections": "relative.projections",
    "relative_norm": "relative.norm",
    "key_bias": "relative.key_bias",
    "convolution": "relative.convolution",
    "enhanced_mask_decoder": "relative.mask_decoder",
}
"""Fields of a model before its options had groups -> their keys now."""


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """A saved configuration of any age; one of this version as it is."""
    model = config.get("model")
    return {**config, "model": current_model(model)} if isinstance(model, Mapping) else dict(config)


def current_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A saved model's fields by their places now; what it lacks is not filled in."""
    found: dict[str, Any] = {name: value for name, value in model.items() if name not in MOVED}
    if isinstance(found.get("remat"), bool):
        found["remat"] = "full" if found["remat"] else "none"
    for name in model.keys() & MOVED.keys():
        group, _, field = MOVED[name].rpartition(".")
        if group:
            found[group] = {**found.get(group, {}), field: model[name]}
        else:
            found[field] = model[name]
    return found
