"""Arithmetic of an HLO instruction, what it calls included: on the matrix unit and on the vector unit."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator

from bert_jax.compilers.hlo import Computation, Instruction, Module
from bert_jax.compilers.shapes import Shape, arrays

# HLO's elementwise operations (openxla.org/xla/operation_semantics).
_ELEMENTWISE = frozenset({
    "abs", "add", "and", "atan2", "cbrt", "ceil", "clamp", "compare", "complex", "convert", "cosine",
    "count-leading-zeros", "divide", "erf", "exponential", "exponential-minus-one", "floor", "imag", "is-finite",
    "log", "log-plus-one", "logistic", "map", "maximum", "minimum", "multiply", "negate", "not", "or", "popcnt",
    "power", "real", "reduce-precision", "remainder", "rng", "rng-bit-generator", "round-nearest-afz",
    "round-nearest-even", "rsqrt", "select", "shift-left", "shift-right-arithmetic", "shift-right-logical", "sign",
    "sine", "sqrt", "stochastic-convert", "subtract", "tan", "tanh", "xor",
})  # fmt: skip


# Targets of custom calls that run compiled kernels: Pallas's on TPU and GPU, Triton's, cuDNN's.
_KERNELS = ("tpu_custom_call", "mosaic_gpu", "triton_kernel_call", "__gpu$xla.gpu.triton", "__cudnn$")


def matrix_flops(module: Module, computation: Computation, instruction: Instruction) -> int:
    """Multiplications and additions of dots, convolutions and the libraries' kernels; fusions with what they hold.

    Raises: ValueError: a matmul kernel whose backend config does not give its dimensions.
    """
    match instruction.opcode.removesuffix("-start"):
        case "dot":
            return _dot(computation, instruction)
        case "convolution":
            return _convolution(computation, instruction)
        case "custom-call":
            return _kernel(computation, instruction)
        case "fusion":
            return sum(matrix_flops(module, body, inner) for body, inner in _fused(module, instruction))
    return 0


def is_known(instruction: Instruction) -> bool:
    """Whether the arithmetic of an instruction shows: not that of a kernel that came without an estimate."""
    target = instruction.target
    estimated = "cost_estimate" in instruction.backend_config.get("custom_call_config", {})
    return estimated or target.startswith("__cudnn$fmha") or not target.startswith(_KERNELS)


def vector_ops(module: Module, computation: Computation, instruction: Instruction) -> int:
    """One for each element of the result of each elementwise instruction, each input element of a reduction and each
    update of a scatter; fusions with what they hold.

    Arithmetic, comparisons, selects, conversions, logic and transcendental functions count one alike, whatever they take
    on a machine. Movement of data (broadcast, reshape, transpose, copy, slice, pad, concatenate, iota, gather, sort) none.
    A reduce-window counts as a reduction: TPU's compiler writes so a softmax's sums that it repeats along their axis.
    """
    opcode = instruction.opcode.removesuffix("-start")
    if opcode in _ELEMENTWISE:
        return sum(array.elements for array in arrays(instruction.shape))
    shapes = _operand_shapes(computation, instruction)
    match opcode:
        case "reduce" | "reduce-window":  # n inputs, n initial values
            return sum(shape.elements for shape in shapes[: len(shapes) // 2])
        case "scatter":  # n arrays, indices, n updates
            return sum(shape.elements for shape in shapes[len(shapes) // 2 + 1 :])
        case "fusion":
            return sum(vector_ops(module, body, inner) for body, inner in _fused(module, instruction))
    return 0


def _fused(module: Module, fusion: Instruction) -> Iterator[tuple[Computation, Instruction]]:
    """The instructions inside a fusion, with the computation that holds them."""
    for body in module.called(fusion, "calls"):
        yield from ((body, inner) for inner in body.instructions)


def _operand_shapes(computation: Computation, instruction: Instruction) -> tuple[Shape, ...]:
    return tuple(array for operand in computation.operands(instruction) for array in arrays(operand.shape))


def _dot(computation: Computation, dot: Instruction) -> int:
    left = _operand_shapes(computation, dot)[0]
    contracted = [int(axis) for axis in re.findall(r"\d+", dot.attributes["lhs_contracting_dims"])]
    return 2 * arrays(dot.shape)[0].elements * math.prod(left.dims[axis] for axis in contracted)


def _convolution(computation: Computation, convolution: Instruction) -> int:
    """2 x the products that are of two elements, places of padding and of dilation left out.

    As XLA's HloCostAnalysis::GetConvolutionFlops. A TPU's compiler turns a batched matmul into a convolution over a
    spatial axis of the batch's size whose stride and dilation let one place of the kernel at a time meet an element.
    """
    left, kernel = _operand_shapes(computation, convolution)[:2]
    result = arrays(convolution.shape)[0]
    left_axes, kernel_axes, result_axes = re.split("_|->", convolution.attributes["dim_labels"])
    spatial = sorted(axis for axis in kernel_axes if axis.isdigit())
    windows = zip(
        *(_window(convolution, key) for key in ("size", "stride", "pad", "lhs_dilate", "rhs_dilate")),
        strict=True,
    )
    places = math.prod(
        _valid_places(left.dims[left_axes.index(axis)], result.dims[result_axes.index(axis)], *window)
        for axis, window in zip(spatial, windows, strict=True)
    )
    features = left.dims[left_axes.index("f")] // int(convolution.attributes.get("feature_group_count", 1))
    batch = left.dims[left_axes.index("b")] // int(convolution.attributes.get("batch_group_count", 1))
    return 2 * features * batch * kernel.dims[kernel_axes.index("o")] * places


def _window(instruction: Instruction, key: str) -> list[int]:
    """A number for each axis of the window; of the padding the one in front."""
    fields = dict(part.split("=") for part in instruction.attributes.get("window", "{}").strip("{}").split())
    axes = len(fields["size"].split("x")) if "size" in fields else 0
    if key not in fields:
        return [0 if key == "pad" else 1] * axes
    return [int(part.split("_")[0]) for part in fields[key].split("x")]


@functools.lru_cache(maxsize=4096)
def _valid_places(
    left: int, result: int, size: int, stride: int, pad: int, left_dilation: int, kernel_dilation: int
) -> int:
    """How many pairs (result o, kernel k) of one axis meet an element of the left operand.

    They meet place p = o * stride - pad + k * kernel_dilation of the dilated operand, which holds its element
    p / left_dilation if that is a whole number in [0, left).
    """
    # From one result that meets an element to the next.
    step = left_dilation // math.gcd(stride, left_dilation)
    total = 0
    for k in range(size):
        offset = k * kernel_dilation - pad
        low = max(0, -(offset // stride))
        high = min(result, ((left - 1) * left_dilation - offset) // stride + 1)
        first = next((o for o in range(low, low + step) if (o * stride + offset) % left_dilation == 0), high)
        total += len(range(first, high, step))
    return total


def _kernel(computation: Computation, call: Instruction) -> int:
    """A call of a library: cuBLAS's matmuls, cuDNN's attention, and Pallas kernels that say what they do."""
    target, config, shapes = call.target, call.backend_config, _operand_shapes(computation, call)
    try:
        if target.startswith(("__cublas$gemm", "__cublas$lt$matmul")):
            numbers = config["gemm_backend_config"]["dot_dimension_numbers"]
            contracted = (shapes[0].dims[int(axis)] for axis in numbers["lhs_contracting_dimensions"])
            return 2 * arrays(call.shape)[0].elements * math.prod(contracted)
        if target.startswith("__cudnn$fmha"):
            # Scores and their product with the values; backward five matmuls, as scores are computed again.
            scores = config["cudnn_fmha_backend_config"]["intermediate_tensor_shape"]["dimensions"]  # BHLT
            matmuls = 5 if target.endswith("Backward") else 2
            return 2 * matmuls * math.prod(map(int, scores)) * shapes[0].dims[-1]
        return int(config.get("custom_call_config", {}).get("cost_estimate", {}).get("flops", 0))
    except (KeyError, IndexError) as error:
        raise ValueError(f"{call.name} ({target}): its backend config has no {error}") from None
