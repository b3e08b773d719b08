"""English prose from docstrings, without code, signatures, parameter tables or markup."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Sections that list names, types and links. Their headings are underlined (numpy style), or end in a colon with the
# content indented (Google style).
_FIELD_SECTIONS = _words(
    "arg args argument arguments attribute attributes author authors contents exceptions field fields input inputs"
    " kwargs license method methods output outputs parameter parameters params properties raise raises receives"
    " reference references return returns throws warns yield yields"
) | {
    "see also", "other parameters", "keyword args", "keyword arguments", "return value", "return values",
    "returned value", "input shape", "output shape", "call arguments", "class attributes", "table of contents",
    "optional arguments", "additional arguments", "constructor args", "module contents", "public api",
}  # fmt: skip
_PROSE_DIRECTIVES = frozenset(
    ["note", "warning", "tip", "important", "hint", "caution", "attention", "danger", "admonition", "topic"]
)
_DIRECTIVE = re.compile(r"\.\.\s+([\w-]+)::\s*(.*)")
_FIELD = re.compile(
    r"[:@][a-zA-Z][^:`]*:(?![\w:+.-]*`)"  # ":param x:", "@type x:", not ":func:`x`"
    r"|\*{0,2}\w+(?:, ?\*{0,2}\w+)* : "  # "x, y : float"
    r"|[a-z]\w*_\w*: |[a-z]\w* \([^)]*\): "  # "batch_size: the", "x (float): the"
)
_BULLET = re.compile(r"(?:[-*+•]|\(?(?:\d{1,2}|#|[a-zA-Z])[.)])\s+(?=\S)")
_COLUMNS = re.compile(r"[^\s.,;:!?] {3,}\S")
_RULER = re.compile(r"([=\-~^\"'`#*+.:_])(?:\1|\s)*\1\1(?:\1|\s)*")
# A ruler, a heading, an admonition's, a line such as "@end_compatibility".
_LEFT_OUT = re.compile(rf"(?:{_RULER.pattern})$|#{{1,6}} |!!! |\[!\w+\]|@\w+(?:\([\w ]*\))?$|: ")
_SESSION = (">>>", "...", "In [", "Out[", "$ ", "% ", "C:\\")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(?:\s*(?:->|=|:).*)?")


class _Paragraphs:
    """Cuts one docstring into paragraphs, line by line, and leaves out what is not prose."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._lines: list[str] = []
        self._indent = 0  # of the paragraph's first line
        self._hanging = False  # a bullet: its later lines may be indented
        self._skip_beyond: int | None = None  # drop lines indented more than this
        self._fence = ""  # drop lines up to this closing mark
        self._in_fields = False  # drop lines up to the next underlined heading
        self._in_session = False  # drop lines up to the next blank one

    def read(self, lines: list[str]) -> list[str]:
        underlined = False
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            stripped = line.strip()
            if underlined:  # the heading was handled with the line above
                underlined = False
            elif self._fence:
                if stripped.startswith(self._fence):
                    self._fence = ""
            elif not stripped:
                self._flush()
                self._in_session = False
            elif not self._lines and self._is_heading(line, following):
                underlined = True
                self._in_fields = stripped.rstrip(":").lower() in _FIELD_SECTIONS
                self._skip_beyond = None
            elif not self._is_skipped(line, len(line) - len(line.lstrip())):
                self._add(stripped, len(line) - len(line.lstrip()))
        self._flush()
        return self.done

    @staticmethod
    def _is_heading(line: str, following: str) -> bool:
        under = following.strip()
        return (
            len(under) >= 3
            and len(set(under)) == 1
            and not under[0].isalnum()
            and line[:1].isspace() == following[:1].isspace()
            and _RULER.fullmatch(line.strip()) is None
        )

    def _is_skipped(self, line: str, indent: int) -> bool:
        """Whether an earlier line decides that this one is left out."""
        if self._skip_beyond is not None:
            if indent > self._skip_beyond:
                return True
            self._skip_beyond = None
        return self._in_fields or self._in_session

    def _add(self, line: str, indent: int) -> None:
        """Adds one line, unless it begins something that is not prose."""
        if line.startswith(">") and not line.startswith(">>>"):  # quoted
            line = line.lstrip("> ")
            if not line:
                return self._flush()
        first = line[0]
        if first in "`~" and line[:3] in ("```", "~~~"):
            self._flush()
            self._fence = "" if line.count("```") > 1 else line[:3]
        elif line.startswith(_SESSION):
            self._flush()
            self._in_session = True
        elif line.startswith(".. ") or line == "..":
            self._directive(line, indent)
        elif _FIELD.match(line) or (line[-1] == ":" and line.rstrip(": ").lower() in _FIELD_SECTIONS):
            self._flush()
            self._skip_beyond = indent
        elif first in "|+" or line[-1] == "|" or _LEFT_OUT.match(line) or _COLUMNS.search(line):
            self._flush()
        else:
            self._text(line, indent)

    def _directive(self, line: str, indent: int) -> None:
        self._flush()
        match = _DIRECTIVE.fullmatch(line)
        if match is None or match[1].lower() not in _PROSE_DIRECTIVES:
            self._skip_beyond = indent
        elif match[2]:
            self._text(match[2], indent)
            self._hanging = True

    def _text(self, line: str, indent: int) -> None:
        bullet = _BULLET.match(line)
        if bullet:
            self._flush()
            line = line[bullet.end() :]
        elif self._lines:
            if indent > self._indent and not self._hanging:
                if len(self._lines) == 1 and len(self._lines[0].split()) <= 3:
                    self._lines.clear()  # the term of a definition
                elif self._lines[-1][-1] == ":":
                    self._flush()
            elif indent < self._indent or (self._hanging and indent == self._indent):
                self._flush()
            if self._skip_beyond is not None and indent > self._skip_beyond:
                return  # the flushed paragraph announced a literal block
        if not self._lines:
            self._indent = indent
            self._hanging = bullet is not None
        self._lines.append(line)

    def _flush(self) -> None:
        if not self._lines:
            return
        text = " ".join(self._lines)
        self._lines.clear()
        if text.endswith("::"):
            self._skip_beyond = self._indent
            text = text[:-1]
        if not _SIGNATURE.fullmatch(text):
            self.done.append(text)


_ROLE = re.compile(r"(?::[a-zA-Z][\w+.-]*)+:`([^`]+)`")
_REFERENCE = re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{0,2}")
_LITERAL = re.compile(r"``([^`]+)``")
_BACKTICKS = re.compile(r"`([^`]+)`_{0,2}")
_TARGET = re.compile(r"\s*<[^<>]*>$")
_MARKDOWN_LINK = re.compile(r"(!?)\[([^\[\]]*)\](?:\([^()\s]*\)|\[[^\[\]]*\])")
_FOOTNOTE = re.compile(r"\s*\[(?:[#*\d]\w*|[A-Z]\w*\d\w*)\]_(?!\w)")
_STRONG = re.compile(r"\*\*([^*\s](?:[^*]*[^*\s])?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])")
_HTML = re.compile(
    r"</?(?:a|b|i|em|strong|code|pre|p|br|tip|tt|su[bp]|div|span|[uo]l|li|t[rdh]|h\d|img)\b[^<>]*>",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\([*`_|<>'\"])")


def _name(match: re.Match[str]) -> str:
    """What a role or a reference shows: of `text <target>` the text, of `~a.b.c` the last part."""
    text = _TARGET.sub("", match[1]).lstrip("!")
    return text.rpartition(".")[2] if text.startswith("~") else text


def _without_markup(text: str) -> str:
    if "[" in text:
        text = _MARKDOWN_LINK.sub(lambda m: "" if m[1] else m[2], text)
        text = _FOOTNOTE.sub("", text)
    if "`" in text:
        text = _ROLE.sub(_name, text)
        text = _LITERAL.sub(r"\1", text)
        text = _REFERENCE.sub(r"\1", text)
        text = _BACKTICKS.sub(_name, text)
    if "*" in text:
        text = _STRONG.sub(r"\1", text)
        text = _EMPHASIS.sub(r"\1", text)
    if "<" in text:
        text = _HTML.sub(" ", text)
    if "\\" in text:
        text = _ESCAPE.sub(r"\1", text).replace("\\ ", "")
    return " ".join(text.split())


# Every English paragraph has some of these; lists of names and most code have none.
_FUNCTION_WORDS = _words(
    "a about after all also an and any are as at be because been before but by can cannot could do does each either"
    " for from given has have he how i if in into is it its may more most must no not of on once one only or other"
    " our over same see set should since so such than that the their them then there these they this those to under"
    " up use used uses using was we were what when where whether which while will with within without would you"
    " your"
)
_PLAIN_WORD = re.compile(
    r"(?<!\S)[\"'(“‘]*((?:[A-Za-z]?[a-z]+|[A-Z]{2,})(?:[-'’/](?:[A-Za-z]?[a-z]+|[A-Z]+))*)[)\"'”’,.;:!?]*(?!\S)"
)
_NOT_PROSE = re.compile(
    r"copyright|licensed under|all rights reserved|spdx|auto-?generated|do not edit|machine generated"
    r"|\A(?:for|while|with|if|elif|def|class|try|assert|return|print|raise|del|import|from|async|await)\b.*[:\])]\Z"
    r"|%\(\w+\)s|\Afrom [\w.]+ import |\Aimport [\w.]+(?: as \w+)?\Z|\A[\w.]+ = ",
    re.IGNORECASE,
)


def _is_prose(text: str) -> bool:
    """At least four words, most of them plain, some of them function words, few letters outside ASCII."""
    count = text.count(" ") + 1
    if count < 4:
        return False
    is_fragment = text[-1] == ":" or not (text[0].isupper() or text[-1] in ".!?")
    if is_fragment and count < 8:
        return False
    plain = _PLAIN_WORD.findall(text)
    if len(plain) < 0.75 * count:
        return False
    function_words = sum(word.lower() in _FUNCTION_WORDS for word in plain)
    if function_words < max(1, 0.15 * count) or text.count("\\") > 2 or text.count(" -- ") > 2:
        return False
    if not text.isascii() and sum(not c.isascii() for c in text) > 0.1 * len(text):
        return False
    return _NOT_PROSE.search(text) is None


def prose(docstring: str) -> list[str]:
    """The English paragraphs of a docstring, one line each, without markup.

    Left out: code, doctests, signatures, tables, field lists (numpy, Google and Sphinx style), directives other than
    notes and warnings, headings, and text that is too short or has too many names and numbers to be a sentence.
    """
    lines = docstring.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    lines = [lines[0].lstrip(), *(line[margin:] for line in lines[1:])]
    return [text for raw in _Paragraphs().read(lines) if _is_prose(text := _without_markup(raw))]
