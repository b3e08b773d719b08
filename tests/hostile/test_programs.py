"""An exported program computes and does nothing else: one that calls out of itself is not run."""

from __future__ import annotations

import dataclasses
import json

import jax.export
import pytest
from jax.extend.mlir import ir

from bert_jax.errors import UserError
from bert_jax.interop import stablehlo
from tests.hostile.formats import FORMATS


@pytest.fixture
def folder(tmp_path):
    FORMATS["stablehlo"].write(tmp_path)
    return tmp_path


def rename_calls(folder, name: str) -> None:
    """Gives the program's custom calls another target, which is then called as it is compiled and run."""
    path = folder / stablehlo.PROGRAM_FILE
    exported = jax.export.deserialize(bytearray(path.read_bytes()))

    def rename(op: ir.Operation) -> ir.WalkResult:
        if op.name == "stablehlo.custom_call":
            op.attributes["call_target_name"] = ir.StringAttr.get(name)
        return ir.WalkResult.ADVANCE

    with stablehlo.opened(exported) as module:
        module.operation.walk(rename)
        changed = stablehlo.serialized(module)
    path.write_bytes(dataclasses.replace(exported, mlir_module_serialized=changed).serialize())


def forget_checksum(folder) -> None:
    path = folder / stablehlo.DESCRIPTION_FILE
    raw = json.loads(path.read_text())
    del raw["crc32"]
    path.write_text(json.dumps(raw))


def test_a_program_of_an_older_version_has_no_checksum(folder):
    forget_checksum(folder)
    assert stablehlo.load(folder)([[1, 2]])["hidden"].shape[:2] == (1, 2)


def test_a_program_that_calls_out_of_itself_is_refused(folder):
    rename_calls(folder, "xla_python_cpu_callback")
    forget_checksum(folder)
    with pytest.raises(
        UserError, match=r"model\.stablehlo: calls xla_python_cpu_callback, .* so it is not run"
    ):
        stablehlo.load(folder)


def test_another_program_than_the_description_says_is_refused(folder):
    rename_calls(folder, "shape_assertion ")
    with pytest.raises(UserError, match=r"model\.stablehlo: checksum \d+ must be \d+, as program\.json says"):
        stablehlo.load(folder)
