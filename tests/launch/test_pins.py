"""What is installed is pinned: constraints.txt has the versions that are tested together, requirements.lock of the package
and its test extra the hashes of every file, too."""

import ast
import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS, LOCK = ROOT / "launch/constraints.txt", ROOT / "launch/requirements.lock"
UNPINNED = {"setuptools", "wheel"}
"""What builds packages, which pip freeze leaves out."""
PLATFORMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    for machine in ("x86_64", "aarch64")
]
PYTHONS = [{"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.1"} for minor in (11, 12, 13)]


def constraints():
    """{package: version}"""
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): version for name, version in pairs}


def locked():
    """{package: (version, marker or None, hashes)}"""
    text = re.sub(r"^#.*\n", "", LOCK.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        requirement, *hashes = line.split("--hash=")
        name, _, rest = requirement.partition("==")
        version, _, marker = rest.partition(";")
        found[name] = version.strip(), marker.strip() or None, [value.strip() for value in hashes]
    return found


def needed_on_linux(marker):
    return marker is None or any(Marker(marker).evaluate(p | v) for p in PLATFORMS for v in PYTHONS)


def test_the_lock_has_the_versions_of_the_constraints():
    pinned = constraints()
    differing = {
        name: (version, pinned.get(name))
        for name, (version, marker, _) in locked().items()
        if version != pinned.get(name) and name not in UNPINNED and needed_on_linux(marker)
    }
    assert differing == {}, "the comment at the head of requirements.lock is the command that makes it"


def test_every_file_has_a_hash_and_none_an_address():
    for name, (_, _, hashes) in locked().items():
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in hashes), name
    assert "://" not in LOCK.read_text() + CONSTRAINTS.read_text()


def asked_for():
    """What setup.py asks for, for the package and its test extra."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIRES", "EXTRAS")
    }
    return [*values["REQUIRES"], *values["EXTRAS"]["test"]]


def test_the_lock_has_all_that_is_asked_for_here():
    """As it is installed, whatever asks for it."""
    lock, seen, waiting = locked(), set(), [("", line) for line in asked_for()]
    while waiting:
        extras, line = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": e}) for e in extras.split(",")
        ):
            continue
        name, wanted = canonicalize_name(requirement.name), ",".join(sorted(requirement.extras))
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        assert name in lock, line
        assert requirement.specifier.contains(lock[name][0], prereleases=True), (line, lock[name][0])
        waiting += [(wanted, found) for found in importlib.metadata.requires(name) or ()]
    assert len(seen) > 80


@pytest.mark.parametrize("extras", ["gpu", "test,parity"])
def test_extras_that_the_lock_does_not_have_are_refused(extras, tmp_path):
    """Before anything is installed."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    python.chmod(0o755)
    (tmp_path / "bin" / "activate").write_text(f'PATH="{python.parent}:$PATH"\n')
    done = subprocess.run(
        ["bash", "-euc", f"LOCKED=1 VENV={tmp_path}; . launch/install.sh; install_package {extras}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not (tmp_path / "called").exists()
    assert f"LOCKED=1 must go with the test extra or none, not with '{extras}'" in done.stderr
    assert not (tmp_path / "installed").exists()
