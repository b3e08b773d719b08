"""Shapes as HLO prints them: f32[8,128]{1,0:T(8,128)S(1)} is an array with its layout, (f32[8], s32[]) a tuple."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import TypeAlias

_DTYPE = re.compile(r"pred|token|opaque|bf16|[suc]\d+|f\d+(?:e\d+m\d+\w*)?")
_ARRAY = re.compile(r"(\w+)\[([^\]]*)\](?:\{([^{}]*)\})?")


@dataclasses.dataclass(frozen=True, repr=False)
class Shape:
    """An array: its type, sizes and layout.

    minor_to_major: the axes, the one whose neighbours are adjacent in memory first; (): row major.
    tile: the block in which the most minor axes are stored, each rounded up to it (TPU: 8 x 128); (): none.
    bits: of an element where the layout packs elements (4 for a packed s4); 0: whole bytes.
    memory: memory space; on a TPU 0 is HBM and 1 VMEM, on every device 5 is the host's memory.
    """

    dtype: str
    dims: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    bits: int = 0
    memory: int = 0

    def __repr__(self) -> str:
        """As HLO prints it, of the layout the memory space alone, so that a tuple of shapes prints as HLO's too."""
        return f"{self.dtype}[{','.join(map(str, self.dims))}]" + (
            f"{{S({self.memory})}}" if self.memory else ""
        )

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Bytes of the elements, without what a tile adds."""
        return -(-self.elements * self._element_bits // 8)

    @property
    def stored_bytes(self) -> int:
        """Bytes in memory: with the axes that the tile covers rounded up to it."""
        order = self.minor_to_major or tuple(reversed(range(len(self.dims))))
        sizes = [self.dims[axis] for axis in reversed(order)]
        for axis, block in zip(range(-1, -len(sizes) - 1, -1), reversed(self.tile), strict=False):
            sizes[axis] = -(-sizes[axis] // block) * block
        return -(-math.prod(sizes) * self._element_bits // 8)

    @property
    def _element_bits(self) -> int:
        return self.bits or 8 * -(-_bits(self.dtype) // 8)


ShapeTree: TypeAlias = Shape | tuple["ShapeTree", ...]


def arrays(shape: ShapeTree) -> tuple[Shape, ...]:
    """The arrays of a shape, tuples flattened."""
    if isinstance(shape, Shape):
        return (shape,)
    return tuple(array for part in shape for array in arrays(part))


def shape_at(text: str, start: int) -> tuple[ShapeTree, int]:
    """The shape that begins at `start` of a text, and where it ends.

    Raises: ValueError: there is none.
    """
    if text.startswith("(", start):
        parts: list[ShapeTree] = []
        position = start + 1
        while not text.startswith(")", position):
            part, position = shape_at(text, position)
            parts.append(part)
            position += len(", ") if text.startswith(", ", position) else 0
        return tuple(parts), position + 1
    match = _ARRAY.match(text, start)
    if match is None:
        raise ValueError(f"no shape at column {start + 1}")
    return _array(*match.groups(default="")), match.end()


@functools.lru_cache(maxsize=4096)
def _array(dtype: str, dims: str, layout: str) -> Shape:
    if not _DTYPE.fullmatch(dtype):
        raise ValueError(f"{dtype} is not an element type")
    order, _, rest = layout.partition(":")
    # Only the first tile adds padding: later ones divide it. "<=" marks a size that is a bound.
    tile = re.search(r"T\(([\d,]*)\)", rest)
    bits, memory = re.search(r"E\((\d+)\)", rest), re.search(r"S\((\d+)\)", rest)
    return Shape(
        dtype=dtype,
        dims=_integers(dims.replace("<=", "")),
        minor_to_major=_integers(order),
        tile=_integers(tile[1]) if tile else (),
        bits=int(bits[1]) if bits else 0,
        memory=int(memory[1]) if memory else 0,
    )


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _bits(dtype: str) -> int:
    """Bits of an element; none for what is no array."""
    if dtype in ("token", "opaque"):
        return 0
    if dtype == "pred":
        return 8
    match = re.search(r"\d+", dtype)
    assert match is not None  # checked when parsed
    return int(match[0])
