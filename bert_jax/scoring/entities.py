"""Entities in tagged sentences: tag schemes, and the scores of conlleval and seqeval.

A tag is "O", or a letter, a hyphen and a type, such as "B-PER". The schemes (Ramshaw and Marcus 1995, Tjong Kim Sang
and Veenstra 1999):

  io      I everywhere; neighbours of one type are one entity
  iob1    I everywhere; B where an entity follows another of its type
  iob2    B on the first word of every entity
  iobes   iob2, with E on the last word and S on a single one; also called BIOES
  bilou   iobes with other letters: L for E, U for S
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, NamedTuple, get_args

from bert_jax.errors import UserError

Scheme = Literal["io", "iob1", "iob2", "iobes", "bilou"]
Mode = Literal["conll", "seqeval", "strict"]

_LETTERS: dict[Scheme, str] = {"io": "I", "iob1": "BI", "iob2": "BI", "iobes": "BIES", "bilou": "BILU"}
_SPELLING: dict[Scheme, tuple[str, str, str, str]] = {
    "io": ("I", "I", "I", "I"),
    "iob1": ("I", "I", "I", "I"),
    "iob2": ("B", "I", "I", "B"),
    "iobes": ("B", "I", "E", "S"),
    "bilou": ("B", "I", "L", "U"),
}
"""The letter of an entity's first, inner and last word, and of a single one."""
_MODE_LETTERS: dict[Mode, str] = {"conll": "BI", "seqeval": "BIES", "strict": "BI"}
_ALL_LETTERS = "BIESLU"


class Entity(NamedTuple):
    """The words [start, stop) of a sentence, of type `kind`."""

    kind: str
    start: int
    stop: int


def entities(tags: Sequence[str], *, scheme: Scheme) -> list[Entity]:
    """The entities of one sentence, in order.

    Tags that break the scheme, as a model's do, are read as conlleval and seqeval read them: a word that cannot
    continue the entity before it begins one.

    Raises:
      UserError: a tag that the scheme does not have; an unknown scheme.
    """
    return _read(tags, _letters(scheme), place="", of=scheme)


def tags_of(found: Sequence[Entity], length: int, *, scheme: Scheme) -> list[str]:
    """The tags of a sentence of `length` words whose entities are `found`, in order and apart.

    "io" does not keep the border between neighbours of one type.
    """
    _letters(scheme)
    tags = ["O"] * length
    before = Entity("", 0, 0)
    for entity in found:
        first, inner, last, single = _SPELLING[scheme]
        if scheme == "iob1" and (entity.kind, entity.start) == (before.kind, before.stop):
            first = single = "B"
        words = entity.stop - entity.start
        letters = single if words == 1 else first + inner * (words - 2) + last
        tags[entity.start : entity.stop] = [f"{letter}-{entity.kind}" for letter in letters]
        before = entity
    return tags


def convert(tags: Sequence[str], *, source: Scheme, to: Scheme) -> list[str]:
    """The tags of one sentence in another scheme; raises as `entities`."""
    return tags_of(entities(tags, scheme=source), len(tags), scheme=to)


def all_tags(kinds: Iterable[str], *, scheme: Scheme) -> tuple[str, ...]:
    """O and every tag of entities of these types, a type after the other."""
    return ("O", *(f"{letter}-{kind}" for kind in kinds for letter in _letters(scheme)))


def scheme_of_tags(tags: Iterable[str]) -> Scheme | None:
    """The first scheme with the letters of all tags, such as the labels of a model; those with the same letters are
    read alike. None: they do not mark entities."""
    letters = {parts[0] if (parts := _parse(tag, _ALL_LETTERS)) else "" for tag in tags} - {"O"}
    schemes = (scheme for scheme in get_args(Scheme) if letters <= set(_LETTERS[scheme]))
    return next(schemes, None) if letters else None


def detect_scheme(sequences: Sequence[Sequence[str]], *, labels: Iterable[str] = ()) -> Scheme:
    """The narrowest scheme that the tags of a whole data set obey; "io" where every tag is "O".

    labels: tags that it has besides, though the data may not use them.

    Raises:
      UserError: a tag of no scheme; tags that together obey none, with the first fault for each that has their
        letters. Sentences and tags are counted from 1.
    """
    places: dict[tuple[str, str], str] = {}  # the first of each pair of neighbours; O stands at both ends
    for sentence, tags in enumerate(sequences, start=1):
        before = "O"
        for number, tag in enumerate(tags, start=1):
            if (before, tag) not in places:
                places[before, tag] = f"sentence {sentence}, tag {number}"
            before = tag
        places.setdefault((before, "O"), f"sentence {sentence}, end")
    parsed: dict[str, tuple[str, str]] = {}
    for (_, tag), place in places.items():
        parts = _parse(tag, _ALL_LETTERS)
        if parts is None:
            raise _no_tag(tag, _ALL_LETTERS, place=place, of="any scheme")
        parsed[tag] = parts
    declared = (parts for label in labels if (parts := _parse(label, _ALL_LETTERS)))
    used = {letter for letter, _ in chain(parsed.values(), declared)} - {"O"}
    faults = []
    for scheme in get_args(Scheme):
        if used <= set(_LETTERS[scheme]):
            wrong = [pair for pair in places if not _obeys(scheme, parsed[pair[0]], parsed[pair[1]])]
            if not wrong:
                return scheme
            before, tag = wrong[0]
            faults.append(f"{scheme} has no {tag} after {before} ({places[before, tag]})")
    reason = "; ".join(faults) or f"none has all of {' '.join(sorted(used))}"
    raise UserError(
        f"the tags obey no scheme: {reason}: correct the tags, or name the scheme to read them by"
    )


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, mode: Mode
) -> dict[str, float]:
    """Scores of tagged sentences, as fractions: "f1", "precision", "recall" of entities, "accuracy" of tags.

    Also "f1/TYPE" for each type in gold or predictions. An entity is right if its type and both ends are. What has
    no entities scores 0. The modes find different entities in tags that break a scheme; report them by name.

      conll     conlleval, which reads B and I: a word that cannot continue an entity begins one
      seqeval   seqeval's default: the same, and also E and S
      strict    seqeval's strict IOB2: only B begins an entity

    Raises:
      UserError: sentences or their lengths differ; a tag that the mode does not read; no tag at all; in mode
        "strict", gold tags of another scheme. Sentences and tags are counted from 1.
    """
    if len(gold) != len(predicted):
        raise UserError(
            f"gold has {len(gold)} sentences and the predictions {len(predicted)}: they must be as many"
        )
    letters, strict = _MODE_LETTERS[mode], mode == "strict"
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    tokens = same = 0
    for sentence, (gold_tags, tags) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(gold_tags) != len(tags):
            raise UserError(
                f"sentence {sentence} has {len(gold_tags)} gold tags and {len(tags)} predicted: they must be as many"
            )
        tokens += len(tags)
        same += sum(map(str.__eq__, gold_tags, tags))
        place = f"sentence {sentence}, "
        in_gold = set(_read(gold_tags, letters, place=f"gold {place}", of=mode, strict=strict))
        in_tags = set(_read(tags, letters, place=f"predicted {place}", of=mode, strict=strict))
        for name, group in (("gold", in_gold), ("found", in_tags), ("right", in_gold & in_tags)):
            found.update((name, entity.kind) for entity in group)
    if not tokens:
        raise UserError("an evaluation set of 0 tags has no score: give at least one")
    if (
        strict
        and not any(name == "gold" for name, _ in found)
        and any(tag != "O" for tags in gold for tag in tags)
    ):
        raise UserError(
            "mode 'strict' reads iob2, and no entity of the gold tags begins with B: convert them first"
        )
    kinds = sorted({kind for _, kind in found})
    precision, recall, f1 = _rates(*(sum(found[name, kind] for kind in kinds) for name in _COUNTED))
    scores = {"f1": f1, "precision": precision, "recall": recall, "accuracy": same / tokens}
    return scores | {f"f1/{kind}": _rates(*(found[name, kind] for name in _COUNTED))[2] for kind in kinds}


_COUNTED = ("right", "found", "gold")


def _rates(right: int, found: int, gold: int) -> tuple[float, float, float]:
    """(precision, recall, F1); 0 where there is nothing."""
    return right / max(found, 1), right / max(gold, 1), 2 * right / max(found + gold, 1)


def _letters(scheme: Scheme) -> str:
    if scheme not in _LETTERS:
        raise UserError(f"tag scheme {scheme!r} is unknown: name one of {', '.join(_LETTERS)}")
    return _LETTERS[scheme]


@functools.lru_cache(maxsize=4096)
def _parse(tag: str, letters: str) -> tuple[str, str] | None:
    """(letter, type) of a tag, ("O", "") outside of entities; None for a tag without one of `letters` and a type."""
    if tag == "O":
        return "O", ""
    letter, _, kind = tag.partition("-")
    return (letter, kind) if kind and len(letter) == 1 and letter in letters else None


def _no_tag(tag: str, letters: str, *, place: str, of: str) -> UserError:
    return UserError(
        f"{place}: {tag!r} is no tag of {of}: those are O, or one of {' '.join(letters)} with a hyphen and a type,"
        f" such as {letters[0]}-PER: correct it, or convert the tags from their own scheme first"
    )


def _read(
    tags: Sequence[str], letters: str, *, place: str, of: Scheme | Mode, strict: bool = False
) -> list[Entity]:
    """The entities of a sentence; those that no B begins only if not `strict`.

    One rule serves every scheme: I, E and L continue an entity of their type after B and I; any other word but O
    begins one.
    """
    found = []
    open_kind, start, may_continue = None, 0, False
    for number, tag in enumerate(tags, start=1):
        parts = _parse(tag, letters)
        if parts is None:
            raise _no_tag(tag, letters, place=f"{place}tag {number}", of=f"{of!r}")
        letter, kind = parts
        if not (may_continue and kind == open_kind and letter in "IEL"):
            if open_kind is not None:
                found.append(Entity(open_kind, start, number - 1))
            begins = letter == "B" if strict else letter != "O"
            open_kind, start = (kind if begins else None), number - 1
        may_continue = letter in "BI"
    if open_kind is not None:
        found.append(Entity(open_kind, start, len(tags)))
    return found


def _obeys(scheme: Scheme, before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a tag may follow another; both have letters of the scheme, and O stands at both ends of a sentence."""
    (letter_before, kind_before), (letter, kind) = before, now
    follows = letter_before != "O" and kind_before == kind
    match scheme:
        case "io":
            return True
        case "iob1":
            return letter != "B" or follows
        case "iob2":
            return letter != "I" or follows
        case _:
            return letter in "IEL" and follows if letter_before in "BI" else letter in "OBSU"
