"""The report of a sweep with a failed, a cut and a damaged trial, and of one that has only begun."""

import csv
import io
import re

import pytest

from bert_jax import __main__ as command_line
from bert_jax.errors import UsageError, UserError
from bert_jax.sweeps.reporting import tables
from bert_jax.sweeps.reporting.comparisons import compare
from bert_jax.sweeps.reporting.report import write_report
from bert_jax.sweeps.reporting.results import gather
from bert_jax.sweeps.reporting.writing import Table, as_csv, plain, probability, short
from tests.sweeps.reporting import finished_sweep as made
from tests.test_html import Parsed


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of a sweep and its report."""
    folder = tmp_path_factory.mktemp("sweep") / "S"
    made.write(folder, failed="nsp-seed1", interrupted="sop-seed2", seeds=(0, 1, 2, 3), rows=2000)
    made.unreadable(folder, "nsp-seed3")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def results(written):
    return gather(written)


@pytest.fixture(scope="module")
def comparisons(results):
    return compare(results)


@pytest.fixture(scope="module")
def page(written):
    return (written / "report.html").read_text()


def test_the_page_needs_no_other_file_and_escapes_what_users_write(page):
    parsed = Parsed(page)
    links = [value for name, value in parsed.attributes if name in ("src", "srcset", "href")]
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"<script|@import|url\(", page)
    assert "<which>" not in page and "&lt;which&gt;" in page
    assert any(made.QUESTION in words for words in parsed.text)


def test_the_verdict_comes_first_in_plain_words(page):
    text = " ".join(Parsed(page).text)
    sentence = re.search(
        r"sop: sop.accuracy \+(\d\d\.\d\d) points \[\+.*?\], p = 0\.0\d\d: better than none", text
    )
    assert sentence and 12 < float(sentence[1]) < 22
    assert "mlm.loss: too small to tell for nsp and sop" in text
    assert text.index("better than none") < text.index("What was run") < text.index("Differences to none")
    assert "over 6 tests together" in text and "nsp: 2 of 4 seeds finished" in text


def test_every_trial_is_listed_with_what_became_of_it(page):
    text = " ".join(" ".join(Parsed(page).text).split())
    for words in (
        "nsp-seed1 failed loss or gradient is not finite at step 121 100 of 400",
        "sop-seed2 interrupted SIGTERM at step 250: saved 250 of 400",
        "nsp-seed3 unreadable trials/nsp-seed3/probes.json: not what a probe wrote: ValueError(",
        "9 of 12 finished; 1 failed, 1 interrupted, 1 unreadable",
    ):
        assert words in text


def test_markdown_shows_the_same_with_pictures_that_are_there(written):
    text = (written / "report.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    files = sorted(str(path.relative_to(written)) for path in written.glob("plots/*"))
    assert sorted(pictures) == files
    assert {"plots/measure-sop.accuracy.png", "plots/curve-mlm_loss.png", "plots/cost.png"} <= set(files)
    assert {
        "plots/parts-mlm-loss-by-frequency.png",
        "plots/parts-mlm-loss-by-position-difference.png",
    } <= set(files)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    for heading in ("Variants and measures", "Beside Lan et al. 2020, table 5", "Cost of a trial", "Trials"):
        assert f"### {heading}\n" in text
    assert not list(written.glob("**/*.partial"))


def test_the_csv_has_every_value_of_every_trial(written, results):
    lines = list(csv.DictReader(io.StringIO((written / "report.csv").read_text())))
    assert tuple(lines[0]) == tables.TRIAL_COLUMNS
    for r in results.trials:
        own = {line["measure"]: line["value"] for line in lines if line["trial"] == r.trial.name}
        if r.counts:
            assert {name: float(own[name]) for name in r.values} == r.values
            assert float(own["cost.tokens"]) == r.cost.tokens
        else:
            assert own == {"": ""}


def test_the_csv_of_comparisons_is_what_was_compared(written, comparisons):
    lines = list(csv.DictReader(io.StringIO((written / "comparisons.csv").read_text())))
    assert tuple(lines[0]) == tables.COMPARISON_COLUMNS
    assert [(line["measure"], line["variant"], line["verdict"]) for line in lines] == [
        (c.measure.name, c.variant, c.verdict) for c in comparisons
    ]
    for line, c in zip(lines, comparisons, strict=True):
        if c.difference:
            assert float(line["difference"]) == c.difference.value and float(line["p_holm"]) == c.p_holm


def test_the_papers_table_has_ours_beside_theirs(results):
    table = tables.published(results)
    found = {row[0]: row[2:] for row in table.rows}
    assert found["XLNet"] == ("–", "–", "90")
    ours, theirs = found["SOP"][1].split(" / ")
    values = results.values("sop", "sop.accuracy")
    assert (
        float(ours) == pytest.approx(100 * sum(values.values()) / len(values), abs=0.05) and theirs == "86.5"
    )
    assert found["SOP"][2] == "89.3/82.3"
    assert table.header[-1] == "SQuAD1.1 *" and "needs a fine-tuned task" in table.notes[-1]


def test_means_are_of_the_seeds_that_finished(results, comparisons):
    table = tables.overview(results, comparisons)
    assert [row[:2] for row in table.rows] == [("none", "4 of 4"), ("nsp", "2 of 4"), ("sop", "3 of 4")]
    assert table.rows[2][3].endswith("▲") and not table.rows[1][3].endswith("▲")


@pytest.fixture
def begun(tmp_path):
    """A sweep of which nothing is finished."""
    variants = {"none": (5.9, 0.5), "sop": (5.9, 0.6)}
    made.write(
        tmp_path / "S",
        variants=variants,
        seeds=(0,),
        failed="none-seed0",
        interrupted="sop-seed0",
        published=None,
    )
    return tmp_path / "S"


def test_a_sweep_of_which_nothing_is_finished_is_reported_as_that(begun, capsys):
    assert command_line.main(["report", str(begun)]) == 0
    assert "No trial is finished" in capsys.readouterr().out
    text = (begun / "report.md").read_text()
    assert "| none | 0 of 1 | – | – | – |" in text
    assert "| none-seed0 | failed | loss or gradient is not finite at step 121 |" in text


def test_another_folder_takes_the_report_and_old_plots_go(begun, tmp_path):
    (tmp_path / "out/plots").mkdir(parents=True)
    (tmp_path / "out/plots/measure-old.png").write_bytes(b"")
    assert write_report(begun, tmp_path / "out") == tmp_path / "out/report.html"
    assert not list(begun.glob("report.*"))
    assert not (tmp_path / "out/plots/measure-old.png").exists()
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    write_report(begun, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == first


def test_what_is_no_sweep_is_one_line(tmp_path, capsys):
    assert command_line.main(["report", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == f"bert-jax: {tmp_path} is not the folder of a sweep: it has no sweep.json\n"
    )
    with pytest.raises(UserError):
        write_report(tmp_path)


def test_out_must_be_a_folder(written, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="must be a folder"):
        write_report(written, tmp_path / "file")


def test_a_table_in_three_languages():
    table = Table(
        title="A|B", header=("variant", "x"), rows=(("a<b", "1"), ("_c_ held_out.x", "better")), notes=("*",)
    )
    assert table.markdown() == (
        "### A\\|B\n\n| variant | x |\n| --- | ---: |\n| a\\<b | 1 |\n| \\_c\\_ held_out.x | better |\n\n\\*\n"
    )
    html = table.html()
    assert '<td class="words">a&lt;b</td><td class="number">1</td>' in html
    assert '<td class="number better">better</td>' in html
    assert as_csv(("a", "b"), [(1, None), ('x,"', float("nan"))]) == 'a,b\n1,\n"x,""",\n'


def test_words_for_numbers():
    assert [short(v) for v in (None, 0.5, 999.6, 1.2345e15, 204800)] == ["–", "0.5", "1 k", "1.23 P", "205 k"]
    assert [probability(p) for p in (None, 0.0004, 0.0456, 1.0)] == ["–", "< 0.001", "0.046", "1.000"]
    assert plain("[a](b) # c\n# d") == "[a]\\(b) # c # d"
