"""What each fused kernel of attention is: its configuration, and its two directions."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class FusedKernel(abc.ABC):
    """A configuration of a kernel. Arrays are [B, L, D], heads side by side, as the projections give them."""

    rate: float
    """of the dropout of probabilities"""
    head_dim: int
    interpret: bool = False
    """whether it runs on a CPU, slowly"""

    @abc.abstractmethod
    def forward(
        self, q: Array, k: Array, v: Array, pack_ids: Array, words: Array | None
    ) -> tuple[Array, Any]:
        """The output, and what `backward` needs of this pass.

        pack_ids: [B, L]. words: of `layers.vector_words`, [B, 2, H, L]; None without dropout.
        """

    @abc.abstractmethod
    def backward(
        self, q: Array, k: Array, v: Array, pack_ids: Array, words: Array | None, kept: Any, grad: Array
    ) -> tuple[Array, Array, Array]:
        """The gradients of q, k and v, that of the output being `grad`. kept: what `forward` gave for it."""
