"""Pages are whole, and nothing that a corpus or a configuration holds becomes markup."""

from html.parser import HTMLParser

import pytest

from bert_jax import html
from bert_jax.html import Html

HOSTILE = """</style></table><script>alert("1")</script> & '<b onclick=x>"""


class Parsed(HTMLParser):
    """The tags, attributes and text of a page; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def every_part(text):
    return (
        html.section(text, html.element("p", text, class_=text)),
        html.items([text]),
        html.definitions({text: (text,), text + "2": (text, text)}),
        html.values({text: text}),
        html.table((text, text), ((text, text), ("", text)), mark=lambda cell: cell),
        html.figures(html.figure(text, light=b"light", dark=b"dark", caption=text)),
        html.join([text, text], text),
    )


def test_text_is_escaped_wherever_it_stands():
    found, plain = (Parsed(html.page(text, *every_part(text), text)) for text in (HOSTILE, "harmless"))
    assert found.tags == plain.tags
    assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
    counts = [
        sum(text in part for part in page.text) for page, text in ((found, HOSTILE), (plain, "harmless"))
    ]
    assert counts[0] == counts[1] > 10


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        (("a < b",), '<b class="x">a &lt; b</b>'),
        ((Html("<i>"), "<i>"), '<b class="x"><i>&lt;i&gt;</b>'),
        ((), '<b class="x"></b>'),
    ],
)
def test_markup_stays_and_text_is_escaped(children, expected):
    assert html.element("b", *children, class_="x", id="") == expected


def test_a_page_takes_nothing_from_elsewhere_and_has_both_themes():
    page = html.page("title", *every_part("text"))
    assert page.startswith("<!DOCTYPE html>")
    sources = [value for name, value in Parsed(page).attributes if name in ("src", "srcset", "href")]
    assert sources == ["data:image/png;base64,ZGFyaw==", "data:image/png;base64,bGlnaHQ="]
    for rule in ("screen and (prefers-color-scheme: dark)", "@media print", "@media (max-width"):
        assert rule in page


def test_cells_know_words_from_numbers_and_rows_begin_groups():
    shown = html.table(
        ("measure", "variant", "x"),
        (("loss", "a", "1"), ("", "b", "2")),
        words=2,
        mark=lambda text: "worse" if text == "2" else "",
    )
    assert '<tr class="group"><td class="words">loss</td><td class="words">a</td>' in shown
    assert '<tr><td class="words"></td><td class="words">b</td><td class="number worse">2</td>' in shown
