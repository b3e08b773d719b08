"""Training a Unigram vocabulary (Kudo 2018, section 3.2): EM over all ways to cut each word, then pruning.

Written here because the `tokenizers` library's trainer goes over its words in the order of a hash map with a
random seed: pieces of equal worth, and the last digits of every score, differ from process to process.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

_MAX_PIECE = 16  # characters, as in SentencePiece
_MAX_WORD = 64  # characters; longer words (links, rulers) teach no pieces
_MAX_WORDS = 300_000  # distinct ones that are learned from, most frequent first
_SEEDS_PER_ENTRY = 20
_SHRINK = 0.75  # share of the pieces that one pruning keeps
_ROUNDS = 2  # of EM before each pruning
_MARGIN = 1.1  # pruning by loss stops here; the rest goes by probability


def learn(
    words: Mapping[str, int],
    *,
    alphabet: Iterable[str],
    size: int,
    tick: Callable[[int], object] = lambda pieces: None,
) -> list[tuple[str, float]]:
    """At most `size` pieces with their log probabilities, most probable first; the alphabet is always kept.

    words: how often each occurs. One with a character outside of the alphabet is left out.
    tick: called with the number of pieces before each pruning.
    """
    alphabet = sorted(set(alphabet))
    known = set(alphabet)
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    kept = [(word, n) for word, n in ranked if len(word) <= _MAX_WORD and known.issuperset(word)][:_MAX_WORDS]
    pieces = [*alphabet, *_seeds(kept, _classes(alphabet), _SEEDS_PER_ENTRY * size)]
    index = {piece: i for i, piece in enumerate(pieces)}
    corpus = [_Lattices.of(group, index) for group in _by_length([word for word, _ in kept])]
    counts = dict(kept)
    weights = [np.array([counts[word] for word in lattices.strings], np.float64) for lattices in corpus]
    alone = [_Lattices.of(group, index) for group in _by_length(pieces[len(alphabet) :])]

    by_name = np.argsort(np.argsort(np.array(pieces)))
    is_letter = np.arange(len(pieces)) < len(alphabet)
    frequency = _seed_frequencies(pieces, corpus, weights)
    log_p = _log_probabilities(frequency, is_letter)
    target = max(int(_MARGIN * size), len(alphabet))
    while True:
        for _ in range(_ROUNDS):
            frequency = sum(
                (lattices.expected(log_p, n) for lattices, n in zip(corpus, weights, strict=True)),
                np.zeros(len(pieces)),
            )
            log_p = _log_probabilities(frequency, is_letter)
        alive = int(np.isfinite(log_p).sum())
        tick(alive)
        if alive <= target:
            break
        loss = _losses(frequency, log_p, alone, index)
        loss[is_letter] = np.inf
        log_p[_order(loss, by_name)[max(target, int(_SHRINK * alive)) :]] = -np.inf
    ranking = np.where(is_letter, np.inf, log_p)
    chosen = [i for i in _order(ranking, by_name)[:size] if np.isfinite(log_p[i])]
    scored = [(pieces[i], round(float(log_p[i]), 6)) for i in chosen]
    return sorted(scored, key=lambda item: (-item[1], item[0]))


def _order(worth: np.ndarray, by_name: np.ndarray) -> np.ndarray:
    """Indices, the most worth first; equals (to float32, beyond which sums depend on the machine) by name."""
    return np.lexsort((by_name, -worth.astype(np.float32)))


_RUN = re.compile(r"▁?(?:a+|0+|\.+)|▁")


def _classes(alphabet: Iterable[str]) -> dict[int, str]:
    """Each character's class: a for letters and their marks, 0 for digits, ▁ its own, . for all others."""

    def class_of(character: str) -> str:
        if character == "▁":
            return "▁"
        if character.isdecimal():
            return "0"
        return "a" if character.isalpha() or unicodedata.category(character)[0] == "M" else "."

    return {ord(character): class_of(character) for character in alphabet}


def _seeds(words: Sequence[tuple[str, int]], classes: Mapping[int, str], limit: int) -> list[str]:
    """The substrings of one class that occur at least twice, those that cover the most characters first.

    Of one class, but for a ▁ before: as in SentencePiece, "word," and "2nd" are never one piece.
    """
    counts: Counter[str] = Counter()
    for word, n in words:
        for run in _RUN.finditer(word.translate(classes)):
            first, last = run.span()
            for start in range(first, last - 1):
                for end in range(start + 2, min(last, start + _MAX_PIECE) + 1):
                    counts[word[start:end]] += n
    ranked = sorted(
        (item for item in counts.items() if item[1] >= 2), key=lambda item: (-item[1] * len(item[0]), item[0])
    )
    return [piece for piece, _ in ranked[:limit]]


def _by_length(strings: Iterable[str]) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for string in strings:
        groups.setdefault(len(string), []).append(string)
    return [groups[length] for length in sorted(groups)]


def _seed_frequencies(
    pieces: Sequence[str], corpus: Sequence[_Lattices], weights: Sequence[np.ndarray]
) -> np.ndarray:
    total = np.zeros(len(pieces) + 1)
    for lattices, n in zip(corpus, weights, strict=True):
        for _, _, ids in lattices.edges():
            total += np.bincount(ids, n, minlength=len(total))
    return total[:-1]


def _log_probabilities(frequency: np.ndarray, is_letter: np.ndarray) -> np.ndarray:
    """The M step with a sparse Dirichlet prior, as SentencePiece: pieces hardly used become impossible."""
    counts = np.where(is_letter, np.maximum(frequency, 0.5), frequency)
    used = counts >= 0.5
    log_p = np.full(len(counts), -np.inf)
    log_p[used] = _digamma(counts[used]) - _digamma(np.array([counts[used].sum()]))
    return log_p


def _digamma(x: np.ndarray) -> np.ndarray:
    """For x > 0: shifted up by its recurrence, then the asymptotic series; good to 1e-10."""
    shift = np.zeros_like(x)
    x = x.copy()
    for _ in range(8):
        low = x < 8
        shift[low] -= 1 / x[low]
        x[low] += 1
    squared = 1 / (x * x)
    series = squared * (
        1 / 12 - squared * (1 / 120 - squared * (1 / 252 - squared * (1 / 240 - squared / 132)))
    )
    return shift + np.log(x) - 0.5 / x - series


def _losses(
    frequency: np.ndarray, log_p: np.ndarray, alone: Sequence[_Lattices], index: Mapping[str, int]
) -> np.ndarray:
    """What the corpus's log likelihood would lose without each piece, its uses being spelled by others."""
    loss = np.full(len(log_p), -np.inf)
    for lattices in alone:
        ids = np.array([index[string] for string in lattices.strings])
        spelled = lattices.forward(log_p, whole=False)[-1]
        alive = np.isfinite(log_p[ids])
        ids = ids[alive]
        loss[ids] = frequency[ids] * (log_p[ids] - spelled[alive])
    return loss


@dataclasses.dataclass(frozen=True)
class _Lattices:
    """The pieces in strings of one length n: ids[start][length - 1] of each string, one past the last for none."""

    strings: list[str]
    ids: list[list[np.ndarray]]

    @classmethod
    def of(cls, strings: list[str], index: Mapping[str, int]) -> _Lattices:
        n, none = len(strings[0]), len(index)
        ids = [
            [
                np.array([index.get(string[start:end], none) for string in strings], np.int32)
                for end in range(start + 1, min(n, start + _MAX_PIECE) + 1)
            ]
            for start in range(n)
        ]
        return cls(strings, ids)

    def edges(self) -> Iterable[tuple[int, int, np.ndarray]]:
        """(start, end, piece of each string) of every span that a piece of some string fills."""
        for start, row in enumerate(self.ids):
            for offset, ids in enumerate(row):
                yield start, start + offset + 1, ids

    def forward(self, log_p: np.ndarray, *, whole: bool = True) -> list[np.ndarray]:
        """Log of the total probability of each prefix. `whole`: the string itself may be a piece."""
        n = len(self.ids)
        padded = np.append(log_p, -np.inf)
        alpha = [np.zeros(len(self.strings))]
        for end in range(1, n + 1):
            starts = range(max(0, end - _MAX_PIECE, 0 if whole or end < n else 1), end)
            alpha.append(_log_sum([alpha[s] + padded[self.ids[s][end - s - 1]] for s in starts]))
        return alpha

    def expected(self, log_p: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The E step: how often each piece is expected, over all ways to cut each string."""
        n = len(self.ids)
        padded = np.append(log_p, -np.inf)
        alpha = self.forward(log_p)
        beta = [np.zeros(len(self.strings))] * (n + 1)
        for start in range(n - 1, -1, -1):
            row = self.ids[start]
            beta[start] = _log_sum([padded[ids] + beta[start + k + 1] for k, ids in enumerate(row)])
        total = np.zeros(len(padded))
        for start, end, ids in self.edges():
            posterior = np.exp(alpha[start] + padded[ids] + beta[end] - alpha[n])
            total += np.bincount(ids, weights * posterior, minlength=len(total))
        return total[:-1]


def _log_sum(terms: Sequence[np.ndarray]) -> np.ndarray:
    """log of the summed exponentials, term by term; the single letters keep every one finite."""
    highest = np.maximum.reduce(terms)
    return highest + np.log(sum(np.exp(term - highest) for term in terms))
