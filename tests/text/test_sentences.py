"""The sentence splitter: it loses nothing, and cuts where a reader would."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.text.sentences import cuts, split, splitter

# Pieces that make full stops ambiguous, so that drawn lines visit every rule.
_PIECES = st.sampled_from(
    [
        *"ab AB I.!?… \t\n\"'”’)(“[]*_—15",
        "Mr.",
        "e.g.",
        "U.S.",
        "No. 5",
        "...",
        "said",
        "J. R.",
        " The ",
        "\u00a0",
        "é",
        "数",
        "。",
        "！",
        "」",
        "「",
        "\0",
        "\ud800",
        "שלום.",
    ]
)
_LINES = st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join)).map(
    lambda text: " ".join(text.split())
)


@given(_LINES)
def test_cuts_lose_nothing(line):
    found = cuts(line)
    assert found == sorted(set(found))
    edges = [0, *found, len(line)]
    parts = [line[a:b] for a, b in itertools.pairwise(edges)]
    assert all(part.strip() for part in parts) or not line
    assert all(line[cut] == " " or line[cut - 1] in "。！？”’」』）》】" for cut in found)
    assert split(f" {line}\t") == [part.strip() for part in parts if part]
    if not {"。", "！", "？"} & set(line):
        assert " ".join(split(line)) == line


@pytest.mark.parametrize("blank", ["", " ", "\t \u00a0"])
def test_a_blank_line_has_no_sentence(blank):
    assert split(blank) == []


# "|" marks where a sentence ends.
@pytest.mark.parametrize(
    "marked",
    [
        "One.| Two!| Three?| Four",
        "She   left.|  He\tstayed.",
        "Mr. Smith met Dr. Jones and Mrs. Brown.| They talked.",
        "See e.g. Smith or cf. Jones, i.e. The Times, viz. Monday.| Then go.",
        "Apples, pears, etc. are fruit.| They fall, roll, etc.| Trees stay.",
        "Cats vs. Dogs was on.| We left.",
        "The U.S. Army left the U.S.| The navy stayed at 5 p.m. on Monday.",
        "He has a Ph.D. from Bonn.",
        "See Fig. 3 and No. 5 in vol. IV, p. 12.| Then he said no.| The end.",
        "J. R. R. Tolkien wrote it.| C. S. Lewis read it.",
        "It was Plan B.| The first had failed.| So did I.| Nobody laughed.",
        "Pi is 3.14 and e is 2.71.| In 1999.| 12 men came.",
        "Wait... what?| Well...| Fine.| And … so on…| He left.",
        '"Stop!" he said.| "Why?" she asked.| He ran.',
        "“Stop!” Holmes cried.| “Why?” I asked.| “Because.”| He ran.",
        "(It rained.)| [It poured.]| \"It stopped.\"| 'Good.'| (So we left.)",
        'He said, "I know."| "You do?"| “Yes.”| She smiled.',
        "A fact.[12]| Another one.",
        "1. The first point.| It has two sentences.",
        "IV. In which he falls.| He gets up.",
        "_Mr._ Smith came.| *So!*| We left.",
        "The price rose.| $5 was too much.",
        "Acme Inc. makes Co. Ltd. shares on St. James St.| They rose in Jan. 2020.",
        "it ended. lower case goes on? yes! it does.",
        "No full stop at the end",
        "Really?!| No!!!| Yes.",
        "Émile vint.| Éva partit.",
        "שלום עולם.| מה שלומך?| טוב.",
        "One\0.| Two\ud800.| Three.",
        "你好。|再见！|好吗？|ABC。| 好。",
        "“你好。”他说。|“你好。”|“再见。”",
        "「行こう。」と言った！！|（笑。）|「はい。」|「何？」と言う",
        "Mr. Li came.| 他来了。|1. He left.| Then no.",
    ],
)
def test_cuts(marked):
    expected = [" ".join(part.split()) for part in marked.split("|")]
    assert split(marked.replace("|", "")) == expected


def test_each_cut_is_the_space_before_a_sentence_or_its_first_character():
    assert cuts("One. Two. Three") == [4, 9]
    assert cuts("你好。再见。 好") == [3, 6]
    assert cuts("") == cuts("One.") == []


def test_a_line_that_is_a_sentence_is_not_cut():
    assert splitter("rule") is cuts
    assert splitter("line")("One. Two. 再见。好") == []


def test_sentencex_cuts_where_that_library_does():
    segment = pytest.importorskip("sentencex").segment
    find = splitter("sentencex")
    for line in ("One. Two! “Three?” Mr. Four left. 你好。再见。 Five", "One", ""):
        edges = [0, *find(line), len(line)]
        parts = [line[a:b].strip() for a, b in itertools.pairwise(edges)]
        assert parts == [part.strip() for part in segment("en", line)] or not line
        assert all(line[edge] == " " for edge in edges[1:-1] if line[edge - 1] != "。")


@given(_LINES)
def test_sentencex_takes_any_line(line):
    pytest.importorskip("sentencex")
    found = splitter("sentencex")(line.encode("utf-8", "replace").decode())
    assert found == sorted(set(found)) and all(0 < cut < len(line) for cut in found)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(
        UserError, match=r"^config\.data\.sentences='sentencex' .* pip install 'bert_jax\[sentencex\]'$"
    ):
        splitter("sentencex")
