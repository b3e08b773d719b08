"""The set of documentation by package: classes, masks, sizes, and that nothing leaks from evaluation to training."""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from pathlib import Path

import pytest

from bert_jax.data.labelled import installed_docs
from bert_jax.data.labelled.open import Columns, read_texts
from bert_jax.data.sources.installed_modules import Roots
from tests.data.labelled.faults import assert_fault

TRAIN, EVAL = "installed_docs:package:train", "installed_docs:package:eval"
ROOT = Path(__file__).parents[3]
PACKAGES = ["tensorflow", "scipy", "jax", "matplotlib", "scikit-learn", "numpy"]


def install(folder: Path, name: str, modules: dict[str, list[str]]) -> None:
    for path, paragraphs in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text('"""' + "\n\n".join(paragraphs) + '\n"""\n')
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in modules))


def sentence(*numbers: int) -> str:
    """Prose of ten words, in which no run of eight is that of other numbers."""
    name = "".join("abcdefghij"[int(digit)] for number in numbers for digit in f"{number:03}")
    return f"The {name} is for the use of a {name[::-1]} that was."


@pytest.fixture
def roots(tmp_path) -> Roots:
    """Six packages of 40 modules with 3 paragraphs each."""
    for rank, package in enumerate(PACKAGES):
        modules = {
            f"p{rank}/m{module}.py": [sentence(rank, module, part) for part in range(3)]
            for module in range(40)
        }
        install(tmp_path, package, modules)
    return Roots(tmp_path / "none", (tmp_path,))


def read(roots: Roots) -> tuple[list, list]:
    return installed_docs.read(TRAIN, roots=roots)[0], installed_docs.read(EVAL, roots=roots)[0]


def modules(examples) -> set[str]:
    return {example.place.partition("[")[0] for example in examples}


def test_whole_modules_belong_to_one_split(roots):
    train, held_out = read(roots)
    assert len(train) + len(held_out) == 6 * 40 * 3
    assert modules(train).isdisjoint(modules(held_out))
    assert 10 < len(modules(held_out)) < 80  # a sixth of 240 is expected
    assert installed_docs.read(TRAIN, roots=roots)[1] == tuple(PACKAGES)
    assert {e.label for e in train} == {e.label for e in held_out} == set(PACKAGES)
    assert all(e.place.startswith(f"p{PACKAGES.index(e.label)}.") for e in train)
    assert len({e.label for e in train[:40]}) > 3  # so that a cap keeps every class


def test_the_same_packages_give_the_same_examples(roots):
    before = read(roots)
    installed_docs._all.cache_clear()
    assert read(roots) == before


def test_texts_that_are_alike_do_not_cross_the_split(roots, tmp_path):
    train, held_out = read(roots)
    trained, tested = sorted(modules(train))[0], sorted(modules(held_out))[0]  # p0: both of the first package
    folder = tmp_path / "copies"
    first, second = (e.text for e in train if e.place.startswith(trained + "[") and e.place[-2] in "01")
    long = "The evaluation copy of this text may be found in the other module and it is used there."
    changed = long.replace("The evaluation", "A training")
    for rank, package in enumerate(PACKAGES):
        contents = {f"p{rank}/m{module}.py": [sentence(rank, module, 0)] for module in range(40)}
        if rank == 0:
            contents[trained.replace(".", "/") + ".py"] = [
                first,
                changed,
                "Only this text is kept for the training set.",
            ]
            contents[tested.replace(".", "/") + ".py"] = [first.upper().capitalize(), long]
        if rank == 1:
            contents["p1/other.py"] = [second]
        if rank == 2:
            contents["p2/other.py"] = [second.replace("value", "Value")]
        install(folder, package, contents)
    train, held_out = read(Roots(tmp_path / "none", (folder,)))
    kept = {e.text for e in train if e.place.startswith(trained + "[")}
    assert kept == {"Only this text is kept for the training set."}
    assert {first.lower(), long.lower()} <= {e.text.lower() for e in held_out if e.label == PACKAGES[0]}
    assert all(e.text.lower() != second.lower() for e in [*train, *held_out])  # of two packages


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("NumPy's np.array and jax.numpy", "package's package.array and package.package"),
        ("a TensorFlow tf.Tensor, tensorflow_datasets", "a package package.Tensor, package"),
        ("scikit-learn (sklearn), SciPy", "package (package), package"),
        ("use tfp or jaxtyping or input", "use tfp or jaxtyping or input"),
        ("my_np_array", "my_package_array"),
    ],
)
def test_names_of_packages_are_masked(text, masked):
    assert installed_docs._MASKED.sub("package", text) == masked


def test_paragraphs_have_8_to_80_words(tmp_path):
    for rank, package in enumerate(PACKAGES):
        words = f"The {sentence(rank).split()[1]} " * 41
        texts = [" ".join(words.split()[:count]) + "." for count in (7, 8, 80, 81)]
        install(tmp_path, package, {f"p{rank}/m.py": texts})
    train, held_out = read(Roots(tmp_path / "none", (tmp_path,)))
    assert [len(e.text.split()) for e in [*train, *held_out]].count(8) == len(PACKAGES)
    assert {len(e.text.split()) for e in [*train, *held_out]} == {8, 80}


def test_at_least_six_packages_must_be_installed(tmp_path):
    for rank, package in enumerate(PACKAGES[:5]):
        install(tmp_path, package, {f"p{rank}/m.py": [sentence(rank)]})
    roots = Roots(tmp_path / "none", (tmp_path,))
    assert_fault(
        lambda: installed_docs.read(TRAIN, roots=roots),
        r"^installed_docs:package: 5 of .*at least 6; install",
    )


@pytest.mark.parametrize(
    "entry", ["installed_docs", "installed_docs:package", "installed_docs:other:train", TRAIN + "s"]
)
def test_other_entries(entry):
    assert_fault(
        lambda: read_texts(entry, label="class"), r"must be installed_docs:package:train or .*:eval$"
    )


@pytest.mark.parametrize(
    "options",
    [{"label": "number"}, {"label": "class", "pair": True}, {"label": "class", "columns": Columns(text="a")}],
)
def test_options_that_it_does_not_have(options):
    assert_fault(lambda: read_texts(TRAIN, **options), r"holds single texts of one class each")


def test_the_packages_that_are_installed_here():
    train, held_out = (read_texts(entry, label="class") for entry in (TRAIN, EVAL))
    assert len(train.labels) >= 6 and train.labels == held_out.labels
    for read, low, high in ((train, 1500, 3000), (held_out, 300, 600)):
        assert low <= len(read.examples) <= high
        counts = Counter(example.label for example in read.examples)
        assert set(counts) == set(read.labels) and max(counts.values()) <= 2 * min(counts.values())
        for example in read.examples:
            assert not re.search(
                r"\b(tensorflow|tf|jax|numpy|np|scipy|sklearn|matplotlib|plt)\b", example.text, re.I
            )
    assert modules(train.examples).isdisjoint(modules(held_out.examples))
    assert {e.text.lower() for e in train.examples}.isdisjoint(e.text.lower() for e in held_out.examples)
    first = read_texts(TRAIN, label="class", labelled=False, limit=5)
    assert [(e.text, e.label) for e in first.examples] == [(e.text, None) for e in train.examples[:5]]


def test_every_package_is_required_by_the_project():
    setup = (ROOT / "setup.py").read_text()
    listed = setup[setup.index("REQUIRES = [") : setup.index("EXTRAS = {")]
    waiting = [name.lower() for name in re.findall(r"[\"']([A-Za-z][\w-]*)", listed)]
    required: set[str] = set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in required:
            required.add(name)
            try:
                lines = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            waiting += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    for names, _ in installed_docs._PACKAGES.values():
        assert not required.isdisjoint(names), names
