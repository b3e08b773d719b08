"""Which instructions run, how often, and for which part of a training step."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.compilers import hlo
from bert_jax.compilers.cost import count, kind_of, totals
from tests.compilers.modules import computation, line, module

BODY = computation(
    "body",
    """
    %s = (s32[], f32[8,8]{1,0}) parameter(0)
    %i = s32[] get-tuple-element(%s), index=0
    %x = f32[8,8]{1,0} get-tuple-element(%s), index=1
    %one = s32[] constant(1)
    %next = s32[] add(%i, %one)
    %dot = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
    ROOT %t = (s32[], f32[8,8]{1,0}) tuple(%next, %dot)
    """,
)
CONDITION = computation(
    "condition",
    """
    %s = (s32[], f32[8,8]{1,0}) parameter(0)
    %i = s32[] get-tuple-element(%s), index=0
    %n = s32[] constant(5)
    ROOT %c = pred[] compare(%i, %n), direction=LT
    """,
)
LOOP = """
%s = (s32[], f32[8,8]{1,0}) parameter(0)
ROOT %r = (s32[], f32[8,8]{1,0}) while(%s), condition=%condition, body=%body
"""


def test_the_compiler_says_how_often_a_loop_runs():
    noted = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"12"}}')
    dot = line(noted, "dot", called=BODY + CONDITION)
    assert (dot.trips, dot.known) == (12, True)
    assert dot.matrix_flops == 12 * 2 * 8**3
    assert (dot.hbm_read, dot.hbm_written) == (12 * 256, 12 * 256)
    assert line(noted, "next", called=BODY + CONDITION).vector_ops == 12


def test_or_the_condition_says_it():
    assert line(LOOP, "dot", called=BODY + CONDITION).trips == 5
    fused = computation(
        "less",
        """
        %p = s32[] parameter(0)
        %q = s32[] parameter(1)
        ROOT %c = pred[] compare(%p, %q), direction=LT
        """,
    ) + CONDITION.replace("compare(%i, %n), direction=LT", "fusion(%i, %n), kind=kLoop, calls=%less")
    assert line(LOOP, "dot", called=BODY + fused).trips == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("direction=LT", "direction=NE"),
        ("constant(5)", "constant(nan)"),
        ("ROOT %c", "%m = s32[] constant(6)\n  ROOT %c"),
    ],
)
def test_or_nothing_does_and_the_line_says_so(old, new):
    lines = count(module(LOOP, called=BODY + CONDITION.replace(old, new)))
    (dot,) = (line for line in lines if line.instruction.name == "dot")
    assert (dot.trips, dot.known) == (1, False)
    assert totals(lines)["unknown_lines"] == len(lines) == 3


def test_loops_in_loops_multiply():
    outer = computation(
        "outer",
        """
        %s = (s32[], f32[8,8]{1,0}) parameter(0)
        ROOT %w = (s32[], f32[8,8]{1,0}) while(%s), condition=%condition, body=%body
        """,
    )
    entry = """
    %s = (s32[], f32[8,8]{1,0}) parameter(0)
    ROOT %r = (s32[], f32[8,8]{1,0}) while(%s), condition=%condition, body=%outer, backend_config={"known_trip_count":{"n":"3"}}
    """
    assert line(entry, "dot", called=BODY + CONDITION + outer).trips == 15


def test_the_costliest_branch_runs():
    branches = computation(
        "small",
        """
        %p = f32[4]{0} parameter(0)
        ROOT %x = f32[4]{0} negate(%p)
        """,
    ) + computation(
        "large",
        """
        %p = f32[8]{0} parameter(0)
        %y = f32[8]{0} negate(%p)
        ROOT %z = f32[4]{0} slice(%y), slice={[0:4]}
        """,
    )
    entry = """
    %i = s32[] parameter(0)
    %a = f32[4]{0} parameter(1)
    %b = f32[8]{0} parameter(2)
    ROOT %r = f32[4]{0} conditional(%i, %a, %b), branch_computations={%small, %large}
    """
    assert [line.instruction.name for line in count(module(entry, called=branches))] == ["y", "z"]


def test_calls_and_asynchronous_computations_run_what_they_hold():
    body = computation(
        "wrapped",
        """
        %p = f32[4]{0} parameter(0)
        ROOT %x = f32[4]{0} negate(%p)
        """,
    )
    entry = """
    %a = f32[4]{0} parameter(0)
    %c = f32[4]{0} call(%a), to_apply=%wrapped
    %s = ((f32[4]{0}), f32[4]{0}, s32[]) async-start(%c), calls=%wrapped
    ROOT %r = f32[4]{0} async-done(%s)
    """
    lines = count(module(entry, called=body))
    assert [(line.instruction.name, line.hbm_read, line.hbm_written) for line in lines] == [("x", 16, 16)] * 2


@pytest.mark.parametrize(
    ("op_name", "kind"),
    [
        ("jit(train_step)/jvp(BertWithHeads)/bert/encoder/jit(layer)/attention/dot_general", "attention"),
        ("jit(train_step)/transpose(jvp(attention))/dot_general", "attention"),
        ("jit(train_step)/transpose(jvp(BertWithHeads))/bert/encoder/attention/dropout/mul", "dropout"),
        ("jit(f)/attention/norm/rsqrt", "norm"),
        ("jit(f)/bert/encoder/while/body/closed_call/mlp/dot_general", "mlp"),
        ("jit(f)/checkpoint/rematted_computation/mlp/erf", "mlp"),
        ("jit(f)/bert/embeddings/embeddings.positions/gather", "embeddings"),
        ("jit(f)/embeddings/norm/add", "norm"),
        ("jit(f)/mlm_head/BME,VE->BMV/dot_general", "head"),
        ("jit(f)/pooler/tanh", "head"),
        ("jit(f)/optimizer/jit(norm)/sqrt", "optimizer"),
        ("jit(f)/jit(norm)/sqrt", "other"),
        ("jit(f)/attention_norm/add", "other"),
        ("", "other"),
    ],
)
def test_kinds_by_the_innermost_scope(op_name, kind):
    assert kind_of(op_name) == kind


def test_a_fusion_that_says_nothing_has_the_kind_of_what_it_holds():
    body = computation(
        "body",
        """
        %p = f32[4]{0} parameter(0)
        %x = f32[4]{0} negate(%p), metadata={op_name="jit(f)/mlp/neg"}
        %y = f32[4]{0} negate(%x), metadata={op_name="jit(f)/attention/neg"}
        ROOT %z = f32[4]{0} negate(%y), metadata={op_name="jit(f)/neg"}
        """,
    )
    entry = """
    %a = f32[4]{0} parameter(0)
    ROOT %r = f32[4]{0} fusion(%a), kind=kLoop, calls=%body
    """
    assert line(entry, called=body).kind == "attention"
    own = entry.replace("calls=%body", 'calls=%body, metadata={op_name="jit(f)/norm/neg"}')
    assert line(own, called=body).kind == "norm"


def test_a_copy_that_the_compiler_added_has_the_kind_of_its_first_user_or_of_what_made_it():
    entry = """
    %a = f32[4]{0} parameter(0)
    %c = (f32[4]{0:S(1)}, f32[4]{0}, u32[]{:S(2)}) copy-start(%a)
    %d = f32[4]{0:S(1)} copy-done(%c)
    %x = f32[4]{0} negate(%d), metadata={op_name="jit(f)/mlp/neg"}
    %y = f32[4]{0} copy(%x)
    %z = f32[4]{0} copy(%a)
    ROOT %r = (f32[4]{0}, f32[4]{0}) tuple(%y, %z)
    """
    assert line(entry, "c").kind == "mlp"
    assert line(entry, "y").kind == "mlp"
    assert line(entry, "z").kind == "other"


def test_totals_are_sums():
    entry = """
    %a = f32[4]{0} parameter(0)
    %x = f32[4]{0} negate(%a), metadata={op_name="jit(f)/mlp/neg"}
    %y = f32[4]{0} negate(%x), metadata={op_name="jit(f)/norm/neg"}
    ROOT %r = f32[4]{0} all-reduce(%y), replica_groups={{0,1}}, to_apply=%add, metadata={op_name="jit(f)/norm/psum"}
    """
    assert totals(count(module(entry, devices=2))) == {
        "matrix_flops": 0,
        "vector_ops": 8,
        "hbm_read": 48,
        "hbm_written": 48,
        "collective_bytes": 16,
        "unknown_lines": 0,
        "hbm_bytes": 96,
        "hbm_bytes_by": {"norm": 64, "mlp": 32},
    }


def test_compiled_scans_multiply_their_matmuls():
    def f(x, w):
        def inner(c, _):
            return c @ w, None

        def outer(c, _):
            return jax.lax.scan(inner, c, None, length=3)[0] @ w.T, None

        return jax.lax.scan(outer, x, None, length=7)[0]

    text = jax.jit(f).lower(jnp.ones((5, 16)), jnp.ones((16, 16))).compile().as_text()
    sums = totals(count(hlo.parse(text)))
    assert sums["matrix_flops"] == 7 * 4 * 2 * 5 * 16 * 16
    assert sums["unknown_lines"] == 0


def test_a_loop_that_ends_by_its_values_is_flagged():
    def f(x):
        return jax.lax.while_loop(lambda c: c.sum() < 100, lambda c: c + 1, x)

    sums = totals(count(hlo.parse(jax.jit(f).lower(jnp.ones((4, 4))).compile().as_text())))
    assert sums["unknown_lines"] > 0
