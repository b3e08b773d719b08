"""Modules as text, by hand and from the compiler of this machine."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.compilers import hlo
from bert_jax.compilers.shapes import Shape

MODULE = r"""HloModule jit_f, is_scheduled=true, replica_count=2, num_partitions=4

FileNames
1 "f.py"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3 end_line=3 column=40 end_column=47}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

fused {
  p.1 = f32[8,4]{1,0} parameter(1)
  p.0 = f32[8,4]{1,0} parameter(0)
  ROOT multiply = f32[8,4]{1,0} multiply(f32[8,4]{1,0} p.0, f32[8,4]{1,0} p.1)
}, execution_thread="main"

ENTRY %main.7 (a: f32[8,4], b: f32[8,4], /*index=2*/c: f32[8]) -> (f32[8], f32[8,4]) {
  %a = f32[8,4]{1,0:T(8,128)S(1)} parameter(0), metadata={op_name="a[\"w\"]"}
  %zero = f32[] constant(0)
  %table = f32[2,2]{1,0} constant({ { 1, 2 }, { 3, 4 } })
  %fusion = f32[8,4]{1,0} fusion(%a, %a), kind=kLoop, calls=%fused, metadata={op_name="jit(f)/mul, (x" stack_frame_id=3}
  %red = f32[8]{0} reduce(%fusion, %zero), dimensions={1}, to_apply=%add
  %call = (f32[8]{0}, s8[16]{0}) custom-call(%red), custom_call_target="gemm", backend_config={"a":{"n":"12"},"b":"},("}
  %old = f32[8]{0} custom-call(%red, /*index=1*/%red), custom_call_target="x", backend_config="{\"a\": 1}"
  ROOT %out = (f32[8]{0}, f32[8,4]{1,0}) tuple(%red, %fusion), control-predecessors={%call, %old}
}
"""


@pytest.fixture(scope="module")
def module():
    return hlo.parse(MODULE)


def test_computations_and_devices(module):
    assert list(module.computations) == ["add", "fused", "main.7"]
    assert module.entry.name == "main.7"
    assert module.devices == 8
    assert module.entry.root.name == "out"


def test_an_instruction_is_read_whole(module):
    assert module.entry.by_name["fusion"] == hlo.Instruction(
        name="fusion",
        opcode="fusion",
        shape=Shape("f32", (8, 4), (1, 0)),
        operands=("a", "a"),
        called={"calls": ("fused",)},
        attributes={"kind": "kLoop"},
        op_name="jit(f)/mul, (x",
    )
    assert module.entry.by_name["a"].op_name == r"a[\"w\"]"
    assert module.entry.by_name["out"].attributes == {"control-predecessors": "{%call, %old}"}
    assert [body.name for body in module.called(module.entry.by_name["red"], "to_apply")] == ["add"]


def test_names_with_and_without_percent_and_shapes_read_alike(module):
    multiply = module.computations["fused"].root
    assert multiply.operands == ("p.0", "p.1")
    assert [parameter.name for parameter in module.computations["fused"].parameters] == ["p.0", "p.1"]


def test_constants_keep_their_value(module):
    assert module.entry.by_name["zero"].literal == "0"
    table = module.entry.by_name["table"]
    assert (table.operands, table.literal.replace(" ", "")) == ((), "{{1,2},{3,4}}")


def test_backend_configs_of_both_spellings(module):
    call = module.entry.by_name["call"]
    assert call.backend_config == {"a": {"n": "12"}, "b": "},("}
    assert module.entry.by_name["old"].backend_config == {"a": 1}
    assert module.entry.by_name["red"].backend_config == {}
    assert (call.target, module.entry.by_name["red"].target) == ("gemm", "")


def test_users_are_named_once(module):
    assert [user.name for user in module.entry.users["a"]] == ["fusion"]
    assert [user.name for user in module.entry.users["red"]] == ["call", "old", "out"]
    assert module.entry.operands(module.entry.root) == (
        module.entry.by_name["red"],
        module.entry.by_name["fusion"],
    )


def test_an_instruction_may_go_on_over_lines():
    kernel = """dimensions={1}, frontend_attributes={kernel_metadata={
"block":"{\\"q\\": 128}"
}}, to_apply"""
    module = hlo.parse(MODULE.replace("dimensions={1}, to_apply", kernel))
    reduction = module.entry.by_name["red"]
    assert reduction.op_name == ""
    assert reduction.attributes["frontend_attributes"] == r"""{kernel_metadata={"block":"{\"q\": 128}"}}"""
    assert reduction.called == {"to_apply": ("add",)}
    assert list(module.entry.by_name) == list(hlo.parse(MODULE).entry.by_name)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("f32[8]{0} reduce(", "g32[8]{0} reduce(", "line 26: g32 is not an element type"),
        ("f32[8]{0} reduce(", "reduce(", "line 26: no shape at column 10"),
        ("f32[8]{0} reduce(", "f32[8]{0} (", "line 26: no opcode after the shape"),
        ("%red = ", "%red is ", "line 26: not an instruction"),
        ("reduce(%fusion, %zero)", "reduce(%fusion, %none)", "line 26: none is used before it is defined"),
        ("reduce(%fusion, %zero)", "reduce(%fusion, $)", "line 26: '\\$' is not an operand"),
        ("reduce(%fusion, %zero)", "reduce((%fusion, %zero)", r"line 26: no matching \)"),
        ("dimensions={1}", "dimensions", "line 26: the attribute 'dimensions' has no value"),
        ("to_apply=%add", "to_apply=%sub", "red calls sub, which the module does not define"),
        ("ROOT %out", "%out", "line 21: computation main.7 has no ROOT"),
        ("ENTRY %main.7", "%main.7", "an HLO module needs an ENTRY computation"),
        ("fused {", "fused: {", "line 15: not the head of a computation: fused: {"),
    ],
)
def test_what_is_no_hlo_is_named_by_its_line(old, new, rule):
    assert old in MODULE
    with pytest.raises(ValueError, match=rule):
        hlo.parse(MODULE.replace(old, new))


def test_a_cut_text_is_no_module():
    with pytest.raises(ValueError, match=r"line 21: computation main.7 has no closing brace"):
        hlo.parse(MODULE.rstrip().removesuffix("}"))


def test_every_line_of_a_compiled_program_is_read():
    def f(x, w):
        y, sums = jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), c.sum()), x, None, length=3)
        z = jax.lax.cond(sums[0] > 0, lambda a: a @ a.T, lambda a: a @ a.T * 2, x)
        return y, z, jnp.sort(x, 0), jax.lax.top_k(sums, 2), jnp.zeros((4, 4)).at[sums.astype(int)].add(1.0)

    text = jax.jit(f).lower(jnp.ones((16, 16)), jnp.ones((16, 16))).compile().as_text()
    module = hlo.parse(text)
    lines = [line.strip().removeprefix("ROOT ") for line in text.splitlines() if line.startswith("  ")]
    names = [line.partition(" = ")[0].removeprefix("%") for line in lines]
    assert [i.name for c in module.computations.values() for i in c.instructions] == names
    assert {"while", "conditional", "dot"} <= {
        i.opcode for c in module.computations.values() for i in c.instructions
    }
