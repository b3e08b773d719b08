"""Cuts English text into sentences by rule: fast, lossless, and the same on every machine."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from bert_jax.errors import UserError

# A possible end: terminators, what closes after them, one space, and (as a lookahead) what opens before the next word
# and its first character.
_CANDIDATE = re.compile(
    r"""([.!?…]+)((?:[)\]}"'”’»*_]|\[\d+\])*)[ ](?=(["'“‘«(\[{_*—–-]*)([^\W_]|[$£€¿¡]))""", re.VERBOSE
)
# After a closing quote or bracket an unsure case (“你好。”他说) stays one sentence, unless another one opens.
_CJK_CANDIDATE = re.compile(
    r"[。！？]+(?:(?=[ ]?[^\W_]|[ ]?[“‘「『（《【])|[”’」』）》】]+(?=[ ]?[“‘「『（《【]))"
)
_OPENING = "\"'“‘«([{_*—–-"
_QUOTES = frozenset("\"'”’»")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Abbreviations before a name or a word of the same sentence, so their full stop never ends one. Titles are matched as
# written: lower-case "gen" and "col" are more often something else.
_TITLES = _words(
    "Mr Mrs Ms Messrs Mme Mlle Dr Prof Rev Hon Gen Col Capt Lieut Lt Sgt Cpl Maj Adm Gov Sen Rep Pres Supt"
    " MR MRS MESSRS DR PROF REV CAPT"
)
_LATIN = _words("cf e.g i.e eg ie viz vs")
# Abbreviations only before a number: "No. 5", "Fig. 2", "vol. IV", but "He said no. The ...".
_NUMBERED = _words(
    "no nos fig figs p pp vol vols ch chap chaps sec sect secs eq eqs eqn ref refs art pt pl tab ver approx ca c"
    " op ln l ll n v pg lib bk sc"
)
# These end a sentence only where the next word usually starts one: "the U.S. Army", "in the U.S. The ...".
_EITHER = _words(
    "st mt ft inc ltd co corp jr sr bros esq al ave blvd rd dept univ assn est jan feb apr jun jul aug sept oct"
    " nov dec mon tue tues wed thu thur thurs fri"
)
_ABBREVIATIONS = frozenset(word.lower() for word in _TITLES) | _LATIN | _NUMBERED | _EITHER
_STARTERS = _words(
    "A After All Although An And Another Any As At Because Before Both But By Did Do Does Each Every For From Had"
    " Has Have He Hence Her Here His How However I If In Is It Its Many Meanwhile More Most My No Nor Not Now Of"
    " On Once One Only Or Our Please See She Since So Some Such That The Their Then There Therefore These They"
    " This Those Though Thus To Was We Were What When Where Which While Who Why With Would Yes Yet You"
    " Your"
)
_ROMAN = re.compile(r"[IVXLCDMivxlcdm]+")
_DOTTED = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")  # U.S  a.m  Ph.D
_WORD = re.compile(r"\w+")
_ENUMERATOR = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[IVXLC]+|[ivxlc]+)(?:\.\d+)*")
_SPEECH_TAG = re.compile(
    r"(?:I|Mrs?\.? ?\w*|Dr\.? ?\w*|[A-Z]\w+) (?:said|asked|cried|replied|answered|exclaimed|shouted|whispered"
    r"|muttered|returned|added|continued|remarked|observed|called|inquired|demanded|screamed|murmured)\b"
)


def cuts(line: str) -> list[int]:
    """Where the sentences of a whitespace-normalised line begin, except the first: ascending offsets.

    Each is that of the space before the sentence, or of its first character where there is no space (after 。, ！ and
    ？). Where a full stop may belong to an abbreviation, an unsure case stays one sentence.
    """
    if line.isascii() or ("。" not in line and "！" not in line and "？" not in line):
        return _cuts_between(line, 0, len(line))
    found = []
    start = 0
    for match in _CJK_CANDIDATE.finditer(line):
        end = match.end()
        found += [*_cuts_between(line, start, end), end]
        start = end + (line[end] == " ")
    return found + _cuts_between(line, start, len(line))


def _cuts_between(line: str, start: int, end: int) -> list[int]:
    found = []
    for match in _CANDIDATE.finditer(line, start, end):
        if _ends_sentence(line, start, match):
            start = match.end()
            found.append(start - 1)
    return found


def split(line: str) -> list[str]:
    """The sentences of one line, in order, without the space between them. A blank line has none."""
    text = " ".join(line.split())
    edges = [0, *cuts(text), len(text)]
    return [text[a:b].strip() for a, b in itertools.pairwise(edges)] if text else []


def splitter(name: str) -> Callable[[str], list[int]]:
    """The function that finds the `cuts` of a line: "rule"; "line" (each line is one sentence); or "sentencex".

    Raises:
      UserError: "sentencex" without that package.
    """
    if name == "sentencex":
        try:
            import sentencex  # noqa: F401
        except ImportError as error:
            raise UserError(
                "config.data.sentences='sentencex' needs that package: pip install 'bert_jax[sentencex]'"
            ) from error
    return SPLITTERS[name]


def _no_cuts(line: str) -> list[int]:
    return []


def _sentencex_cuts(line: str) -> list[int]:
    """The boundaries of Wikimedia's sentencex, by its English rules; its sentences end with their space."""
    from sentencex import segment

    found = []
    end = 0
    for sentence in segment("en", line):
        end += len(sentence)
        if sentence.strip():
            found.append(end - 1 if sentence[-1] == " " else end)
    return [cut for cut in found if 0 < cut < len(line)]


SPLITTERS: dict[str, Callable[[str], list[int]]] = {
    "rule": cuts,
    "line": _no_cuts,
    "sentencex": _sentencex_cuts,
}


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the candidate ends the sentence that began at `start`."""
    stop, closing, opening, following = match.groups()
    if following.islower():
        return False
    if stop != ".":
        if closing and not opening and following.isupper() and not _QUOTES.isdisjoint(closing):
            return not _SPEECH_TAG.match(text, match.end())  # "Stop!" Holmes cried.
        return not (stop[0] in ".…" and following.isdigit())
    if closing.strip("*_"):  # emphasis alone does not decide: "_Mr._ Smith"
        return True
    at = match.start()
    before = text.rfind(" ", start, at) + 1 or start
    word = text[before:at]
    if before == start and _ENUMERATOR.fullmatch(word):
        return False  # "1. The first point", "IV. In which ..."
    word = word.lstrip(_OPENING)
    if len(word) > 1 and "." not in word and word.lower() not in _ABBREVIATIONS:
        return True  # by far the most frequent case, so checked first
    return not _is_abbreviation(word, text, match.end(), following)


def _is_abbreviation(word: str, text: str, after: int, following: str) -> bool:
    """Whether the full stop after `word` belongs to it, given what comes `after`."""
    folded = word.lower()
    if word in _TITLES or folded in _LATIN:
        return True
    next_word = _WORD.match(text, after)
    upcoming = next_word.group() if next_word else ""
    if folded in _NUMBERED and (following.isdigit() or _ROMAN.fullmatch(upcoming)):
        return upcoming != "I"
    is_initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    if is_initial or folded in _EITHER or _DOTTED.fullmatch(word):
        return upcoming not in _STARTERS or _is_next_initial(text, after, upcoming)
    return False


def _is_next_initial(text: str, after: int, upcoming: str) -> bool:
    """The "A" of "J. A. Smith", which alone looks like an article that starts a sentence."""
    return len(upcoming) == 1 and text.startswith(".", after + 1)
