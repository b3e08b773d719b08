"""Bytes that a chip sends, by hand and for programs of eight devices. An f32[8,4] has 128 bytes."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from bert_jax.compilers import hlo
from bert_jax.compilers.collectives import first_group
from bert_jax.compilers.cost import count
from tests.compilers.modules import computation, line


@pytest.mark.parametrize(
    ("text", "chips"),
    [
        ("{{0,1},{2,3}}", (0, 1)),
        ("{{1,3,5,7},{0,2,4,6}}", (1, 3, 5, 7)),
        ("{{0},{1}}", (0,)),
        ("{}", (0, 1, 2, 3)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        # A grid of 2 x 4, its columns first: 0, 4, 1, 5, ...
        ("[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("[2,4]<=[2,4]T(1,0)", (0, 4, 1, 5)),
        ("mesh['data'=4,'model'=2] {'data'}", (0, 2, 4, 6)),
        ("mesh['data'=4,'model'=2] {'model'}", (0, 1)),
        ("mesh['data'=4,'model'=2] {'data','model'}", (0, 1, 2, 3, 4, 5, 6, 7)),
        # data of 8 as 2 x 4: its outer factor, its inner one
        ("mesh['data'=8] {'data':(1)2}", (0, 4)),
        ("mesh['data'=8] {'data':(2)4}", (0, 1, 2, 3)),
        ("mesh['data'=8] {}", (0,)),
        ("mesh['data'=4,'model'=2], device_ids=([2,4]T(1,0)) {'data'}", (0, 1, 2, 3)),
        ("mesh['data'=4,'model'=2], device_ids=([2,4]T(1,0)) {'model'}", (0, 4)),
    ],
)
def test_the_first_group(text, chips):
    assert first_group(text, devices=4) == chips


def test_an_unknown_spelling_of_groups_is_an_error():
    with pytest.raises(ValueError, match="replica_groups=<all> is not"):
        first_group("<all>", devices=4)


GROUPS = "replica_groups={{0,1,2,3},{4,5,6,7}}"


@pytest.mark.parametrize(
    ("instruction", "opcode", "sent"),
    [
        (f"f32[8,4]{{1,0}} all-reduce(%a), {GROUPS}, to_apply=%add", "all-reduce", 2 * 3 / 4 * 128),
        (f"f32[8,4]{{1,0}} all-reduce-start(%a), {GROUPS}, to_apply=%add", "all-reduce", 2 * 3 / 4 * 128),
        (
            f"(f32[8,4]{{1,0}}, f32[8,4]{{1,0}}) all-reduce(%a, %b), {GROUPS}, to_apply=%add",
            "all-reduce",
            2 * 3 / 4 * 256,
        ),
        (
            f"(f32[8,4]{{1,0}}, f32[8,4]{{1,0}}) all-reduce-start(%a, %b), {GROUPS}, to_apply=%add",
            "all-reduce",
            2 * 3 / 4 * 256,
        ),
        (f"f32[32,4]{{1,0}} all-gather(%a), {GROUPS}, dimensions={{0}}", "all-gather", 3 / 4 * 512),
        (
            f"(f32[8,4]{{1,0}}, f32[32,4]{{1,0}}) all-gather-start(%a), {GROUPS}, dimensions={{0}}",
            "all-gather",
            3 / 4 * 512,
        ),
        (
            f"f32[2,4]{{1,0}} reduce-scatter(%a), {GROUPS}, dimensions={{0}}, to_apply=%add",
            "reduce-scatter",
            3 / 4 * 128,
        ),
        (f"f32[8,4]{{1,0}} all-to-all(%a), {GROUPS}, dimensions={{0}}", "all-to-all", 3 / 4 * 128),
        (
            "f32[8,4]{1,0} collective-permute(%a), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}",
            "collective-permute",
            128,
        ),
        (
            "(f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}",
            "collective-permute",
            128,
        ),
    ],
)
def test_the_ring_algorithm(instruction, opcode, sent):
    entry = f"""
    %a = f32[8,4]{{1,0}} parameter(0)
    %b = f32[8,4]{{1,0}} parameter(1)
    ROOT %r = {instruction}
    """
    found = line(entry, devices=8)
    assert (found.collective, found.group, found.collective_bytes) == (opcode, (0, 1, 2, 3), sent)
    assert found.hbm_read == 128 * (2 if "%b)" in instruction else 1)
    assert found.hbm_written == {"all-gather": 512, "reduce-scatter": 32}.get(opcode, found.hbm_read)


def test_a_sum_of_which_a_fusion_keeps_a_part_is_a_reduce_scatter():
    body = computation(
        "body",
        """
        %p = f32[8,4]{1,0} parameter(0)
        %all = (f32[8,4]{1,0}, f32[8,4]{1,0}) all-reduce(%p, %p), replica_groups={{0,1,2,3}}, to_apply=%add
        %one = f32[8,4]{1,0} get-tuple-element(%all), index=0
        %i = s32[] constant(0)
        %x = f32[2,4]{1,0} dynamic-slice(%one, %i, %i), dynamic_slice_sizes={2,4}
        KEPT
        ROOT %t = (f32[2,4]{1,0}, f32[2,4]{1,0}) tuple(%x, %x)
        """,
    )
    entry = """
    %a = f32[8,4]{1,0} parameter(0)
    ROOT %r = (f32[2,4]{1,0}, f32[2,4]{1,0}) fusion(%a), kind=kCustom, calls=%body
    """
    found = line(entry, called=body.replace("KEPT", ""), devices=4)
    assert (found.collective, found.collective_bytes) == ("reduce-scatter", 3 / 4 * 256)
    whole = "%two = f32[8,4]{1,0} get-tuple-element(%all), index=1\n  %n = f32[8,4]{1,0} negate(%two)"
    found = line(entry, called=body.replace("KEPT", whole), devices=4)
    assert (found.collective, found.collective_bytes) == ("all-reduce", 2 * 3 / 4 * 256)


def test_a_collective_spread_over_fusions_is_paid_once():
    gather = 'all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}, frontend_attributes={chain_id="0"}'
    bodies = (
        computation(
            "start",
            f"""
            %p = f32[2,4]{{1,0}} parameter(0)
            %g = f32[8,4]{{1,0}} {gather}
            ROOT %c = (f32[2,4]{{1,0}}, f32[8,4]{{1,0}}, u32[]{{:S(2)}}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
            """,
        )
        + computation(
            "middle",
            f"""
            %p = f32[2,4]{{1,0}} parameter(0)
            %g = f32[8,4]{{1,0}} {gather}
            %x = f32[8,4]{{1,0}} parameter(1)
            %n = f32[8,4]{{1,0}} negate(%x)
            ROOT %t = (f32[8,4]{{1,0}}, f32[2,4]{{1,0}}, f32[8,4]{{1,0}}) tuple(%n, %p, %g)
            """,
        )
        + computation(
            "end",
            f"""
            %p = f32[2,4]{{1,0}} parameter(0)
            %q = f32[8,4]{{1,0}} parameter(1)
            %g = f32[8,4]{{1,0}} {gather}
            ROOT %c = f32[8,4]{{1,0}} custom-call(%p, %q, %g), custom_call_target="AsyncCollectiveDone"
            """,
        )
    )
    entry = """
    %a = f32[2,4]{1,0} parameter(0)
    %b = f32[8,4]{1,0} parameter(1)
    %one = (f32[2,4]{1,0}, f32[8,4]{1,0}, u32[]{:S(2)}) fusion(%a), kind=kCustom, calls=%start
    %a1 = f32[2,4]{1,0} get-tuple-element(%one), index=0
    %two = (f32[8,4]{1,0}, f32[2,4]{1,0}, f32[8,4]{1,0}) fusion(%a1, %b), kind=kLoop, calls=%middle
    %a2 = f32[2,4]{1,0} get-tuple-element(%two), index=1
    %g2 = f32[8,4]{1,0} get-tuple-element(%two), index=2
    ROOT %three = f32[8,4]{1,0} fusion(%a2, %g2), kind=kCustom, calls=%end
    """
    one, two, three = (line(entry, name, called=bodies, devices=4) for name in ("one", "two", "three"))
    assert (one.hbm_read, one.hbm_written, one.collective_bytes) == (32, 128, 3 / 4 * 128)
    assert (two.hbm_read, two.hbm_written, two.collective_bytes, two.vector_ops) == (128, 128, 0, 32)
    assert (three.hbm_read, three.hbm_written, three.collective_bytes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("function", "opcode", "sent"),
    [
        # A shard is f32[8,16]: 512 bytes. Groups are the 4 devices along x.
        (functools.partial(jax.lax.psum, axis_name="x"), "all-reduce", 2 * 3 / 4 * 512),
        (functools.partial(jax.lax.all_gather, axis_name="x"), "all-gather", 3 / 4 * 4 * 512),
        (
            functools.partial(jax.lax.psum_scatter, axis_name="x", tiled=True),
            "reduce-scatter",
            3 / 4 * 512,
        ),
        (
            functools.partial(jax.lax.all_to_all, axis_name="x", split_axis=0, concat_axis=1, tiled=True),
            "all-to-all",
            3 / 4 * 512,
        ),
    ],
)
def test_compiled_collectives(function, opcode, sent):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=P("x", "y"), out_specs=P("x", "y"), check_vma=False)
    rows = jax.ShapeDtypeStruct((32, 32), jnp.float32, sharding=jax.NamedSharding(mesh, P("x", "y")))
    if opcode == "all-gather":
        mapped = jax.shard_map(
            function, mesh=mesh, in_specs=P("x", "y"), out_specs=P(None, None, "y"), check_vma=False
        )
    module = hlo.parse(jax.jit(mapped).lower(rows).compile().as_text())
    (found,) = (line for line in count(module) if line.collective)
    assert module.devices == 8
    assert (found.collective, found.group, found.collective_bytes) == (opcode, (0, 2, 4, 6), sent)
