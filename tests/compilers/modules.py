"""Small HLO modules as text."""

from bert_jax.compilers import hlo
from bert_jax.compilers.cost import Line, count

ADD = """
%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}
"""


def module(entry: str, *, called: str = "", devices: int = 1) -> hlo.Module:
    """A module whose entry computation has these lines, and the computations that they call."""
    head = f"HloModule test, num_partitions={devices}\n{ADD}{called}\n"
    return hlo.parse(f"{head}\nENTRY %main {{\n{_indented(entry)}\n}}\n")


def computation(name: str, lines: str) -> str:
    return f"\n%{name} {{\n{_indented(lines)}\n}}\n"


def line(entry: str, name: str = "r", **options) -> Line:
    """What the instruction `name` of the entry costs."""
    hbm = options.pop("hbm", frozenset({0}))
    (found,) = (line for line in count(module(entry, **options), hbm=hbm) if line.instruction.name == name)
    return found


def _indented(lines: str) -> str:
    return "\n".join("  " + line.strip() for line in lines.strip().splitlines())
