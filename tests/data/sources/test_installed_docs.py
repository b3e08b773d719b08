"""Prose from docstrings of every style, and the corpus over a small fake environment."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bert_jax.data.sources.blocks import Document
from bert_jax.data.sources.installed_docs import InstalledDocs
from bert_jax.data.sources.installed_modules import Roots
from bert_jax.errors import UserError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def install(folder: Path, name: str, version: str, modules: dict[str, str]) -> None:
    """What an installer leaves: the files, and their list."""
    for path, text in modules.items():
        write(folder / path, text)
    info = folder / f"{name}-{version}.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(info / "RECORD", "".join(f"{path},,\n" for path in [*modules, "../../bin/tool.py", "gone.py"]))


TWO = '"""The first paragraph of {0} is here.\n\nThe second paragraph of {0} is there."""\n'


@pytest.fixture
def roots(tmp_path) -> Roots:
    stdlib, site = tmp_path / "stdlib", tmp_path / "site-packages"
    write(stdlib / "zebra.py", TWO.format("zebra"))
    write(stdlib / "test" / "test_zebra.py", TWO.format("tests"))
    write(
        stdlib / "pydoc_data" / "topics.py",
        "topics = {'if': 'An if is a choice.\\n\\nIt has two of the ways.'}\n",
    )
    write(stdlib / "site-packages" / "inside.py", TWO.format("inside"))
    package = '''
        """The package is used for the tests.

        This line is in all of the modules."""

        import missing_module_that_nobody_has

        class Thing:
            """A thing that can be used."""

            def method(self):
                """Do what the thing can do."""
                def inner():
                    """This is hidden in the method."""

        try:
            def late():
                """This one is in a block."""
        except ImportError:
            def late():
                """This one is in the other block."""

        def last():
            """The last of the functions is here."""
    '''
    install(
        site,
        "Some.Package",
        "1.0",
        {
            "some/__init__.py": package,
            "some/broken.py": '"""The first paragraph is here.\n\nThe second is there."""\nprint "x"\n',
            "some/copy.py": TWO.format("zebra"),
            "some/one.py": '"""A single paragraph is not enough."""\n',
            "some/part.py": '"""This line is in all of the modules.\n\nThis is new in the part.\n\nSo is this one of it."""',
            "some/tests/util.py": TWO.format("tests"),
            "some/_vendor/other.py": TWO.format("vendor"),
            "some/thing_pb2.py": TWO.format("generated"),
            "some/a-template.py": TWO.format("template"),
        },
    )
    install(site, "bert_jax", "0.1", {"bert_jax/x.py": TWO.format("ourselves")})
    write(site / "stray.py", TWO.format("a stray file"))
    return Roots(stdlib, (site,))


EXPECTED = [
    Document("pydoc_data.topics:if", "An if is a choice.\nIt has two of the ways."),
    Document("zebra", "The first paragraph of zebra is here.\nThe second paragraph of zebra is there."),
    Document(
        "some",
        "The package is used for the tests.\n"
        "This line is in all of the modules.\n"
        "A thing that can be used.\n"
        "Do what the thing can do.\n"
        "This one is in a block.\n"
        "This one is in the other block.\n"
        "The last of the functions is here.",
    ),
    Document("some.part", "This is new in the part.\nSo is this one of it."),
]


def read(source: InstalledDocs, **sizes) -> list[Document]:
    (docs,) = source.inputs()
    return [document for block in docs.blocks(**sizes) for document in block.documents("text")]


@pytest.mark.parametrize("processes", [1, 2])
def test_documents_of_an_environment(roots, tmp_path, processes):
    source = InstalledDocs(tmp_path / "cache", roots=roots, processes=processes)
    assert read(source) == EXPECTED


def test_blocks(roots, tmp_path):
    source = InstalledDocs(tmp_path / "cache", roots=roots, processes=1, source=3, first=7)
    assert source.size == 0
    blocks = list(source.blocks(block_bytes=1))
    assert [(b.source, b.input, b.number) for b in blocks] == [(3, 7, n) for n in range(4)]
    assert blocks[-1].position == source.size > 0
    assert read(source, block_bytes=1) == read(source, block_bytes=200) == EXPECTED


def test_identity(roots, tmp_path):
    identity = InstalledDocs(tmp_path, roots=roots).identity()
    assert identity["distributions"] == [["some-package", "1.0"]]
    install(roots.site_packages[0], "another", "2.0", {"another.py": ""})
    assert InstalledDocs(tmp_path, roots=roots).identity()["distributions"] == [
        ["another", "2.0"],
        ["some-package", "1.0"],
    ]


def test_the_second_reading_is_from_the_cache(roots, tmp_path):
    cache = tmp_path / "cache"
    read(InstalledDocs(cache, roots=roots, processes=1))
    (roots.stdlib / "zebra.py").unlink()
    assert read(InstalledDocs(cache, roots=roots, processes=1)) == EXPECTED
    assert [file.suffix for file in cache.iterdir()] == [".gz"]  # no part of a file is left
    install(roots.site_packages[0], "another", "2.0", {"another.py": TWO.format("another")})
    names = [document.name for document in read(InstalledDocs(cache, roots=roots, processes=1))]
    assert "another" in names and "zebra" not in names


def _lose_rows(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:-30].rpartition(b"\n")[0])


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: b"", lambda data: b"plain text", _lose_rows],
    ids=["truncated", "empty", "not gzip", "rows lost"],
)
def test_a_damaged_cache_is_made_again(roots, tmp_path, damage):
    cache = tmp_path / "cache"
    source = InstalledDocs(cache, roots=roots, processes=1)
    read(source)
    (file,) = cache.iterdir()
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(damage(file.read_bytes()))
    assert read(source) == EXPECTED
    assert gzip.decompress(file.read_bytes()) == whole


def test_an_environment_without_documentation(tmp_path):
    (tmp_path / "stdlib").mkdir()
    source = InstalledDocs(tmp_path / "cache", roots=Roots(tmp_path / "stdlib", ()), processes=1)
    with pytest.raises(
        UserError, match=r"no documentation found in .*stdlib .*; name text files in config\.data\.path"
    ):
        read(source)


def test_a_cache_that_cannot_be_written(roots, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    source = InstalledDocs(tmp_path / "cache", roots=roots, processes=1)
    with pytest.raises(
        UserError, match=r"installed_docs-\w+\.jsonl\.gz: cannot be written: .*config\.data\.directory"
    ):
        read(source)


def test_the_roots_of_this_python_hold_its_documentation():
    roots = Roots.of_this_python()
    assert (roots.stdlib / "json" / "__init__.py").is_file()
    assert any((folder / "pytest").is_dir() for folder in roots.site_packages)


def test_worker_processes_stay_light():
    code = "import sys, bert_jax.data.sources.installed_modules; print({'numpy', 'jax', 'tensorflow', 'flax'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
