"""The least time of a step, and where its bytes go."""

import dataclasses

import pytest

from bert_jax.compilers.cost import count
from bert_jax.compilers.hlo import parse
from bert_jax.compilers.roofline import bound, crosses_hosts, parts
from bert_jax.compilers.targets import parse as target

# 8 chips sum 1 GB in a ring: each sends 2 x 7 / 8 of it. Reading and writing it is 2 GB of memory traffic.
SUM = """
HloModule step, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

ENTRY %main (p: f32[250000000]) -> f32[250000000] {
  %p = f32[250000000]{0} parameter(0)
  ROOT %sum = f32[250000000]{0} all-reduce(%p), replica_groups=[1,8]<=[8], to_apply=%add
}
"""


def test_each_part_takes_its_amount_at_its_rate_and_the_slowest_is_the_bound():
    [matrix, vector, memory, links] = parts(count(parse(SUM)), target("v5e:2x4"))
    assert matrix.amount == 0
    assert memory.milliseconds == pytest.approx(1000 * 2e9 / 819e9)
    assert links.milliseconds == pytest.approx(1000 * 1.75e9 / 90e9)
    assert bound((matrix, vector, memory, links)) == links


def test_gpus_of_several_hosts_exchange_over_the_network():
    [line] = [line for line in count(parse(SUM)) if line.collective]
    assert not crosses_hosts(line, target("h100:8"))
    far = dataclasses.replace(line, group=(0, 8))
    assert crosses_hosts(far, target("h100:16"))
    assert not crosses_hosts(far, target("v5e:4x4"))
    *_, links, network = parts([line, far], target("h100:16"))
    assert (links.amount, network.amount) == (1.75e9, 1.75e9)
    assert network.rate == 50e9


def test_one_chip_has_no_links():
    names = [part.name for part in parts(count(parse(SUM)), target("h100:1"))]
    assert names == ["matrix unit", "vector unit", "memory"]
