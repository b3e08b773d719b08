"""Arithmetic of small modules by hand, of random convolutions by enumeration, and as XLA counts it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.compilers import hlo
from bert_jax.compilers.cost import count, totals
from tests.compilers.modules import computation, line


def test_a_batched_dot():
    # [3,4,5] x [3,6,5] -> [3,4,6], contracted over 5: 2 * 3*4*6 * 5
    dot = """
    %a = f32[3,4,5]{2,1,0} parameter(0)
    %b = f32[3,6,5]{2,1,0} parameter(1)
    ROOT %r = f32[3,4,6]{2,1,0} dot(%a, %b), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={2}
    """
    assert line(dot).matrix_flops == 2 * 3 * 4 * 6 * 5
    assert line(dot).vector_ops == 0


def test_dots_inside_fusions_and_fusions_inside_fusions():
    inner = computation(
        "inner",
        """
        %p = f32[4,5]{1,0} parameter(0)
        ROOT %d = f32[4,4]{1,0} dot(%p, %p), lhs_contracting_dims={1}, rhs_contracting_dims={1}
        """,
    )
    outer = computation(
        "outer",
        """
        %q = f32[4,5]{1,0} parameter(0)
        %n = f32[4,4]{1,0} fusion(%q), kind=kOutput, calls=%inner
        ROOT %e = f32[4,4]{1,0} dot(%n, %n), lhs_contracting_dims={0}, rhs_contracting_dims={0}
        """,
    )
    fusion = """
    %a = f32[4,5]{1,0} parameter(0)
    ROOT %r = f32[4,4]{1,0} fusion(%a), kind=kCustom, calls=%outer
    """
    assert line(fusion, called=inner + outer).matrix_flops == 2 * 16 * 5 + 2 * 16 * 4


@pytest.mark.parametrize(
    ("left", "right", "result", "attributes", "flops"),
    [
        # The lines of v5e's compiler for BERT-base: scores BLHK,BTHK->BHLT, and the query's projection.
        (
            "bf16[256,128,12,64]",
            "bf16[256,128,12,64]",
            "bf16[256,12,128,128]",
            "window={size=256x12 stride=255x11 lhs_dilate=256x12}, dim_labels=0b1f_0o1i->01bf",
            2 * 256 * 12 * 128 * 128 * 64,
        ),
        (
            "bf16[256,128,768,1]",
            "bf16[768,12,64,1]",
            "bf16[256,128,12,64]",
            "window={size=1x12 pad=0_0x11_11 rhs_reversal=0x1}, dim_labels=0bf1_i1o0->0b1f",
            2 * 256 * 128 * 768 * 768,
        ),
        # Three taps of which the two outer ones meet padding once: 3 * 10 - 2 places.
        (
            "f32[2,10,4]",
            "f32[3,4,8]",
            "f32[2,10,8]",
            "window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f",
            2 * 2 * 4 * 8 * 28,
        ),
        # Depthwise: every one of 4 features has two kernels of its own.
        (
            "f32[2,10,4]",
            "f32[3,1,8]",
            "f32[2,8,8]",
            "window={size=3}, dim_labels=b0f_0io->b0f, feature_group_count=4",
            2 * 2 * 1 * 8 * 24,
        ),
        # The same with the batch in groups: every output feature sees one of the 2 groups.
        (
            "f32[4,10,3]",
            "f32[3,3,8]",
            "f32[2,8,8]",
            "window={size=3}, dim_labels=b0f_0io->b0f, batch_group_count=2",
            2 * 2 * 3 * 8 * 24,
        ),
        # No spatial axis at all.
        ("f32[4,3]", "f32[3,8]", "f32[4,8]", "dim_labels=bf_io->bf", 2 * 4 * 3 * 8),
    ],
)
def test_convolutions(left, right, result, attributes, flops):
    convolution = f"""
    %a = {left} parameter(0)
    %b = {right} parameter(1)
    ROOT %r = {result} convolution(%a, %b), {attributes}
    """
    assert line(convolution).matrix_flops == flops


def _enumerated(left, result, size, stride, pad, left_dilation, kernel_dilation):
    """Pairs of a result and a tap that meet an element, one by one."""
    places = {index * left_dilation for index in range(left)}
    pairs = itertools.product(range(result), range(size))
    return sum(o * stride - pad + k * kernel_dilation in places for o, k in pairs)


def test_places_of_random_windows_are_counted_exactly():
    draw = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        left, result, size = (int(x) for x in draw.integers(1, 9, 3))
        stride, left_dilation, kernel_dilation = (int(x) for x in draw.integers(1, 6, 3))
        pad = int(draw.integers(-4, 9))
        expected = _enumerated(left, result, size, stride, pad, left_dilation, kernel_dilation)
        convolution = f"""
        %a = f32[1,{left},1] parameter(0)
        %b = f32[{size},1,1] parameter(1)
        ROOT %r = f32[1,{result},1] convolution(%a, %b), window={{size={size} stride={stride} pad={pad}_0 lhs_dilate={left_dilation} rhs_dilate={kernel_dilation}}}, dim_labels=b0f_0io->b0f
        """
        assert line(convolution).matrix_flops == 2 * expected
        seen.add(expected)
    assert len(seen) > 15


def _compiled(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    return totals(count(hlo.parse(compiled.as_text()))), compiled.cost_analysis()


@pytest.mark.parametrize(
    ("einsum", "shapes", "flops"),
    [
        ("ij,jk->ik", ((7, 5), (5, 3)), 2 * 7 * 5 * 3),
        ("bij,bkj->bik", ((4, 7, 5), (4, 3, 5)), 2 * 4 * 7 * 5 * 3),
        ("BLHK,BTHK->BHLT", ((2, 5, 3, 4), (2, 6, 3, 4)), 2 * 2 * 3 * 5 * 6 * 4),
        ("BLD,DHK->BLHK", ((2, 5, 8), (8, 2, 4)), 2 * 2 * 5 * 8 * 8),
    ],
)
def test_compiled_matmuls(einsum, shapes, flops):
    counted, _ = _compiled(lambda *x: jnp.einsum(einsum, *x), *(jnp.ones(shape) for shape in shapes))
    assert counted["matrix_flops"] == flops


@pytest.mark.parametrize(
    ("options", "left", "right"),
    [
        ({"window_strides": (1, 1), "padding": "SAME"}, (2, 9, 8, 4), (3, 2, 4, 6)),
        ({"window_strides": (2, 3), "padding": "VALID"}, (2, 9, 8, 4), (3, 2, 4, 6)),
        ({"window_strides": (1, 1), "padding": ((3, -1), (2, 5))}, (2, 9, 8, 4), (3, 2, 4, 6)),
        (
            {"window_strides": (1, 1), "padding": ((0, 1), (2, 0)), "lhs_dilation": (2, 3)},
            (2, 9, 8, 4),
            (3, 2, 4, 6),
        ),
        ({"window_strides": (2, 1), "padding": "SAME", "rhs_dilation": (2, 3)}, (2, 9, 8, 4), (3, 2, 4, 6)),
        ({"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2}, (2, 9, 8, 4), (3, 2, 2, 6)),
    ],
)
def test_compiled_convolutions_are_counted_as_xla_counts_them(options, left, right):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    counted, xla = _compiled(convolve, jnp.ones(left), jnp.ones(right))
    assert counted["matrix_flops"] == xla["flops"] > 0


def test_elementwise_results_and_reduced_inputs_are_vector_operations():
    body = computation(
        "body",
        """
        %p = bf16[8,4]{1,0} parameter(0)
        %c = f32[8,4]{1,0} convert(%p)
        %k = f32[] constant(2)
        %b = f32[8,4]{1,0} broadcast(%k), dimensions={}
        %m = f32[8,4]{1,0} multiply(%c, %b)
        %t = f32[4,8]{1,0} transpose(%m), dimensions={1,0}
        %e = f32[4,8]{1,0} exponential(%t)
        ROOT %s = f32[4]{0} reduce(%e, %k), dimensions={1}, to_apply=%add
        """,
    )
    fusion = """
    %a = bf16[8,4]{1,0} parameter(0)
    ROOT %r = f32[4]{0} fusion(%a), kind=kLoop, calls=%body
    """
    # convert, multiply, exponential of 32 elements; a sum of 32
    assert line(fusion, called=body).vector_ops == 4 * 32
    assert line(fusion, called=body).matrix_flops == 0


@pytest.mark.parametrize(
    ("instruction", "operations"),
    [
        ("f32[4]{0} select(%mask, %a, %a)", 4),
        ("f32[4]{0} copy(%a)", 0),
        ("f32[2]{0} slice(%a), slice={[0:2]}", 0),
        ("f32[4]{0} reduce-window(%a, %zero), window={size=7 pad=3_3}, to_apply=%add", 4),
        ("(f32[], f32[]) reduce(%a, %a, %zero, %zero), dimensions={0}, to_apply=%add", 8),
        ("f32[4]{0} scatter(%a, %places, %two), to_apply=%add", 2),
        ("f32[4]{0} sort(%a), dimensions={0}, to_apply=%add", 0),
    ],
)
def test_vector_operations_outside_fusions(instruction, operations):
    entry = f"""
    %a = f32[4]{{0}} parameter(0)
    %mask = pred[4]{{0}} parameter(1)
    %places = s32[2,1]{{1,0}} parameter(2)
    %two = f32[2]{{0}} parameter(3)
    %zero = f32[] constant(0)
    ROOT %r = {instruction}
    """
    assert line(entry).vector_ops == operations


MATMUL = """
%a = bf16[32,7]{1,0} parameter(0)
%b = bf16[5,7]{1,0} parameter(1)
ROOT %r = (bf16[32,5]{1,0}, s8[1024]{0}) custom-call(%a, %b), custom_call_target="TARGET", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["1"]}}}
"""


@pytest.mark.parametrize("target", ["__cublas$gemm", "__cublas$lt$matmul", "__cublas$lt$matmul$f8"])
def test_matmuls_of_cublas(target):
    found = line(MATMUL.replace("TARGET", target))
    assert found.matrix_flops == 2 * 32 * 5 * 7
    # Its scratch space is neither read nor written.
    assert (found.hbm_read, found.hbm_written) == ((32 * 7 + 5 * 7) * 2, 32 * 5 * 2)


@pytest.mark.parametrize(
    ("target", "matmuls"), [("__cudnn$fmhaSoftmax", 2), ("__cudnn$fmhaScaleBiasSoftmaxBackward", 5)]
)
def test_attention_of_cudnn(target, matmuls):
    # 64 rows, 2 heads of 16, 128 queries, 256 keys
    attention = f"""
    %q = bf16[64,128,2,16]{{3,2,1,0}} parameter(0)
    %k = bf16[64,256,2,16]{{3,2,1,0}} parameter(1)
    ROOT %r = (bf16[64,128,2,16]{{3,2,1,0}}, u8[0]{{0}}) custom-call(%q, %k, %k), custom_call_target="{target}", backend_config={{"cudnn_fmha_backend_config":{{"intermediate_tensor_shape":{{"dimensions":["64","2","128","256"]}}}}}}
    """
    assert line(attention).matrix_flops == 2 * matmuls * 64 * 2 * 128 * 256 * 16


def test_a_library_call_without_dimensions_is_an_error():
    with pytest.raises(
        ValueError, match=r"r \(__cublas\$gemm\): its backend config has no 'gemm_backend_config'"
    ):
        line(MATMUL.replace("TARGET", "__cublas$gemm").replace('"gemm_backend', '"other_backend'))


def test_a_pallas_kernel_costs_what_it_says():
    kernel = """
    %a = f32[4]{0} parameter(0)
    ROOT %r = f32[4]{0} custom-call(%a), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"...","cost_estimate":{"flops":"123","transcendentals":7,"bytes_accessed":456}}}
    """
    silent = kernel.replace("cost_estimate", "other")
    assert (line(kernel).matrix_flops, line(kernel).known) == (123, True)
    assert (line(silent).matrix_flops, line(silent).known) == (0, False)
