"""Shapes as HLO prints them, and their bytes by hand."""

import pytest

from bert_jax.compilers.shapes import Shape, arrays, shape_at


def shape(text):
    found, end = shape_at(text, 0)
    assert end == len(text)
    return found


def test_an_array_with_its_layout():
    assert shape("bf16[768,12,64]{0,2,1:T(8,128)(2,1)S(1)}") == Shape(
        "bf16", (768, 12, 64), minor_to_major=(0, 2, 1), tile=(8, 128), memory=1
    )
    assert shape("f32[]{:T(128)S(6)}") == Shape("f32", (), tile=(128,), memory=6)
    assert shape("f32[2,3]") == Shape("f32", (2, 3))
    assert shape("f32[<=8]{0:SC(1:4)}").dims == (8,)


def test_a_tuple_keeps_its_nesting():
    nested = shape("((f32[8]{0}), f32[2]{0:S(1)}, s32[], ())")
    assert nested == (
        (Shape("f32", (8,), (0,)),),
        Shape("f32", (2,), (0,), memory=1),
        Shape("s32", ()),
        (),
    )
    assert [array.dims for array in arrays(nested)] == [(8,), (2,), ()]


def test_shapes_print_as_hlo_without_layouts():
    assert (
        str(shape("(bf16[2,3]{0,1:T(8,128)}, (f32[], s32[4]{0:S(1)}))"))
        == "(bf16[2,3], (f32[], s32[4]{S(1)}))"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("pred[3]{0}", 3),
        ("s8[3]{0}", 3),
        ("u16[3]{0}", 6),
        ("bf16[3]{0}", 6),
        ("f32[3]{0}", 12),
        ("s64[3]{0}", 24),
        ("c64[3]{0}", 24),
        ("c128[3]{0}", 48),
        ("f8e4m3fn[3]{0}", 3),
        ("f8e5m2[3]{0}", 3),
        ("f8e8m0fnu[3]{0}", 3),
        ("s4[3]{0}", 3),  # a byte each
        ("s4[3]{0:E(4)}", 2),  # packed: 12 bits
        ("u4[8]{0:E(4)}", 4),
        ("f4e2m1fn[8]{0:E(4)}", 4),
        ("token[]", 0),
        ("f32[0,5]{1,0}", 0),
        ("f32[]", 4),
    ],
)
def test_bytes_by_type(text, size):
    assert shape(text).bytes == size
    assert shape(text).stored_bytes == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[3,100]{1,0:T(8,128)}", 8 * 128 * 4),
        ("f32[3,100]{0,1:T(8,128)}", 104 * 128 * 4),  # the minor axis of 3 takes 128 lanes
        ("bf16[5,16,100]{2,1,0:T(8,128)(2,1)}", 5 * 16 * 128 * 2),
        ("f32[100]{0:T(1024)}", 4096),
        ("f32[2,768]{1,0:T(2,128)}", 2 * 768 * 4),
    ],
)
def test_a_tile_rounds_the_minor_axes_up(text, size):
    assert shape(text).stored_bytes == size
    assert shape(text).bytes < size or size == 2 * 768 * 4


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("f33x[2]{0}", "f33x is not an element type"),
        ("g32[2]", "g32 is not an element type"),
        ("%x", "no shape at column 1"),
        ("(f32[2], %x)", "no shape at column 10"),
        ("(f32[2]", "no shape at column 8"),
        ("f32[2,x]", "invalid literal for int"),
    ],
)
def test_no_shape(text, rule):
    with pytest.raises(ValueError, match=rule):
        shape_at(text, 0)
