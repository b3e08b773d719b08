"""HBM bytes of small modules, by hand. An f32[8,4] has 128 bytes."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.compilers import hlo
from bert_jax.compilers.cost import count, totals
from tests.compilers.modules import computation, line, module

PARAMETERS = """
%a = f32[8,4]{1,0} parameter(0)
%b = f32[8,4]{1,0:S(1)} parameter(1)
%i = s32[] parameter(2)
%row = f32[1,4]{1,0} parameter(3)
%places = s32[2,1]{1,0} parameter(4)
%rows = f32[2,4]{1,0} parameter(5)
%zero = f32[] constant(0)
"""


@pytest.mark.parametrize(
    ("instruction", "read", "written"),
    [
        ("f32[8,4]{1,0} negate(%a)", 128, 128),
        ("f32[8,4]{1,0} multiply(%a, %a)", 128, 128),  # the operand is read once
        ("f32[8,4]{1,0} multiply(%a, %b)", 128, 128),  # %b is on the chip
        ("f32[8,4]{1,0:S(1)} multiply(%a, %b)", 128, 0),
        ("f32[8,4]{1,0:S(5)} copy(%b)", 0, 0),  # to the host's memory
        ("(f32[8,4]{1,0}, f32[8,4]{1,0:S(1)}) sort(%a, %b), dimensions={0}, to_apply=%add", 128, 128),
        # Parts
        ("f32[2,4]{1,0} slice(%a), slice={[0:2], [0:4]}", 32, 32),
        ("f32[1,4]{1,0} dynamic-slice(%a, %i, %i), dynamic_slice_sizes={1,4}", 16 + 4, 16),
        ("f32[2,4]{1,0} gather(%a, %places), slice_sizes={1,4}", 32 + 8, 32),
        ("f32[8,4]{1,0} dynamic-update-slice(%a, %row, %i, %i)", 16 + 4, 16),
        ("f32[8,4]{1,0} dynamic-update-slice(%b, %row, %i, %i)", 16 + 4, 16),
        # A scatter reads places, updates and what it adds these to.
        ("f32[8,4]{1,0} scatter(%a, %places, %rows), to_apply=%add", 32 + 8 + 32, 32),
        # What makes its values
        ("f32[8,4]{1,0} iota(), iota_dimension=0", 0, 128),
        ("f32[8,4]{1,0} broadcast(%i), dimensions={}", 4, 128),
        # Between HBM and the chip's memory: one side of it
        ("(f32[8,4]{1,0:S(1)}, f32[8,4]{1,0}, u32[]{:S(2)}) copy-start(%a)", 128, 0),
        ("(f32[8,4]{1,0}, f32[8,4]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%b)", 0, 128),
        ("((f32[8,4]{1,0}), f32[2,4]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:2], [0:4]}", 32, 0),
    ],
)
def test_operands_are_read_and_results_written(instruction, read, written):
    found = line(f"{PARAMETERS}\n ROOT %r = {instruction}")
    assert (found.hbm_read, found.hbm_written) == (read, written)


@pytest.mark.parametrize(
    "instruction",
    [
        "f32[32]{0} bitcast(%a)",
        "(f32[8,4]{1,0}, s32[]) tuple(%a, %i)",
        "f32[2]{0} constant({1, 2})",
        "(f32[8,4]{1,0}) opt-barrier(%a)",
        "token[] after-all()",
        "f32[8,4]{1,0} copy-done(%a)",
        "u32[] partition-id()",
        'f32[8,4]{1,0} custom-call(), custom_call_target="AllocateBuffer"',
        'f32[8,4]{1,0} custom-call(%rows, %rows), custom_call_target="ConcatBitcast"',
    ],
)
def test_names_for_memory_are_no_lines(instruction):
    assert count(module(f"{PARAMETERS}\n ROOT %r = {instruction}")) == ()


def test_a_device_may_have_more_spaces_of_hbm():
    negate = f"{PARAMETERS}\n ROOT %r = f32[8,4]{{1,0}} negate(%b)"
    assert line(negate).hbm_read == 0
    assert line(negate, hbm={0, 1}).hbm_read == 128


def test_tiles_are_moved_whole():
    # [8,4] in tiles of 8 x 128 takes 8 * 128 floats.
    found = line("""
    %a = f32[8,4]{1,0:T(8,128)} parameter(0)
    ROOT %r = f32[4,8]{1,0:T(8,128)} transpose(%a), dimensions={1,0}
    """)
    assert (found.hbm_read, found.hbm_written) == (4096, 4096)


FUSION = "%a = f32[8,4]{1,0} parameter(0)\n%i = s32[] parameter(1)\n"
INSIDE = "%p = f32[8,4]{1,0} parameter(0)\n%j = s32[] parameter(1)\n"


@pytest.mark.parametrize(
    ("shape", "body", "read", "written"),
    [
        # All of an operand, though twice
        ("f32[8,4]{1,0}", "%n = f32[8,4]{1,0} negate(%p)\nROOT %m = f32[8,4]{1,0} add(%n, %p)", 128, 128),
        # One row of it, behind a bitcast; the index is read too
        (
            "f32[1,4]{1,0}",
            """
            %b = f32[8,4]{1,0} bitcast(%p)
            %s = f32[1,4]{1,0} dynamic-slice(%b, %j, %j), dynamic_slice_sizes={1,4}
            ROOT %n = f32[1,4]{1,0} negate(%s)
            """,
            16 + 4,
            16,
        ),
        # Two parts of it
        (
            "f32[1,4]{1,0}",
            """
            %s = f32[1,4]{1,0} slice(%p), slice={[0:1], [0:4]}
            %t = f32[1,4]{1,0} slice(%p), slice={[3:4], [0:4]}
            ROOT %n = f32[1,4]{1,0} add(%s, %t)
            """,
            32,
            16,
        ),
        # A part and the whole
        (
            "f32[8,4]{1,0}",
            """
            %s = f32[1,4]{1,0} slice(%p), slice={[0:1], [0:4]}
            %t = f32[8,4]{1,0} broadcast(%s), dimensions={0,1}
            ROOT %n = f32[8,4]{1,0} add(%p, %t)
            """,
            128,
            128,
        ),
        # An update in place: of one result of two, behind a bitcast
        (
            "(f32[8,4]{1,0}, f32[4]{0})",
            """
            %k = f32[1,4]{1,0} constant({{1, 2, 3, 4}})
            %u = f32[8,4]{1,0} dynamic-update-slice(%p, %k, %j, %j)
            %b = f32[8,4]{1,0} bitcast(%u)
            %v = f32[4]{0} bitcast(%k)
            ROOT %t = (f32[8,4]{1,0}, f32[4]{0}) tuple(%b, %v)
            """,
            4,
            16 + 16,
        ),
        # An update whose array is used further: not in place
        (
            "f32[8,4]{1,0}",
            """
            %k = f32[1,4]{1,0} constant({{1, 2, 3, 4}})
            %u = f32[8,4]{1,0} dynamic-update-slice(%p, %k, %j, %j)
            ROOT %n = f32[8,4]{1,0} negate(%u)
            """,
            128 + 4,
            128,
        ),
        # Nothing of it
        ("s32[]", "ROOT %n = s32[] negate(%j)", 4, 4),
    ],
)
def test_a_fusion_reads_what_it_takes_and_writes_what_it_changes(shape, body, read, written):
    found = line(
        f"{FUSION} ROOT %r = {shape} fusion(%a, %i), kind=kLoop, calls=%body",
        called=computation("body", INSIDE + body),
    )
    assert (found.hbm_read, found.hbm_written) == (read, written)


def test_an_update_in_place_in_a_fusion_inside_a_fusion():
    inner = computation(
        "inner",
        """
        %x = f32[8,4]{1,0} parameter(0)
        %places = s32[2,1]{1,0} constant({{1}, {2}})
        %rows = f32[2,4]{1,0} parameter(1)
        ROOT %s = f32[8,4]{1,0} scatter(%x, %places, %rows), to_apply=%add
        """,
    )
    outer = computation(
        "outer",
        """
        %y = f32[8,4]{1,0} parameter(0)
        %z = f32[2,4]{1,0} parameter(1)
        ROOT %n = f32[8,4]{1,0} fusion(%y, %z), kind=kCustom, calls=%inner
        """,
    )
    found = line(
        f"{PARAMETERS} ROOT %r = f32[8,4]{{1,0}} fusion(%a, %rows), kind=kCustom, calls=%outer",
        called=inner + outer,
    )
    assert (found.hbm_read, found.hbm_written) == (32 + 32, 32)


def _compiled(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    return totals(count(hlo.parse(compiled.as_text()))), compiled.cost_analysis()


def test_what_does_not_slice_moves_what_xla_says():
    x, y = jnp.ones((64, 32)), jnp.ones((32, 48))
    counted, xla = _compiled(lambda x, y: jnp.tanh(x @ y).sum(0) + 1, x, y)
    assert counted["hbm_bytes"] == xla["bytes accessed"]
