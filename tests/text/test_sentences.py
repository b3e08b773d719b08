"""The sentence splitter: it loses nothing, and cuts where a reader would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.text.sentences import split

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
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join)))
def test_joined_sentences_are_the_normalised_line(line):
    sentences = split(line)
    assert " ".join(sentences) == " ".join(line.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)


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
    ],
)
def test_cuts(marked):
    expected = [" ".join(part.split()) for part in marked.split("|")]
    assert split(marked.replace("|", "")) == expected
