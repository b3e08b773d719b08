"""Training a vocabulary on counted chunks, with the same result in every process."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import tokenizers
from tokenizers import pre_tokenizers, trainers

from bert_jax.config import TokenizerConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.progress import bar
from bert_jax.text import kinds, sentencepiece_model

_STRING_CHARACTERS = 1 << 16  # of one string for the trainer, about
_ALPHABET = 1000  # characters kept, the most frequent ones
# Unigram spells the names of its unused entries with these, where a text mentions them.
_PRINTABLE = [chr(code) for code in range(0x21, 0x7F)]
_RESERVED = {"\0", "▅"}  # SentencePiece's own marks of a word's end and of an unknown character
_DISTINCT = 1_000_000  # words that SentencePiece is trained on: its time grows with them
_LONGEST = 1000  # characters; SentencePiece skips words of more than 4192 bytes
_THREADS = 16  # of SentencePiece, on any machine: the order of its sums depends on their number


def count_chunks(lines: Iterable[str]) -> Counter[str]:
    """How often each chunk occurs. Chunks are lines with single spaces, cut before every space."""
    counts: Counter[str] = Counter()
    for line in lines:
        if text := " ".join(line.split()):
            counts.update(text.replace(" ", "\n ").split("\n"))
    return counts


def check_trainable(config: TokenizerConfig) -> None:
    """Raises `UserError` where the package that trains this kind is missing; called before a corpus is read."""
    if config.kind != "unigram":
        return
    try:
        import sentencepiece  # noqa: F401
    except ImportError:
        raise UserError(
            "config.tokenizer.kind='unigram' is trained by SentencePiece:"
            " pip install 'bert_jax[sentencepiece]', or name a vocabulary in config.tokenizer.path"
        ) from None


def learn(counts: Mapping[str, int], config: TokenizerConfig) -> tokenizers.Tokenizer:
    """A tokenizer of exactly `config.vocab_size` entries for a corpus of these chunks.

    Where a corpus is too small for that many pieces, the other entries are named [unused0], [unused1], ... as in the
    published vocabularies (<unused0>, ... for BPE). Chunks are used in order of their text, so the result depends
    neither on the mapping's order nor on the process.

    Raises:
      ConfigError: `vocab_size` is too small for the special tokens and the alphabet.
      UserError: Unigram without the sentencepiece package.
    """
    check_trainable(config)
    ordered = sorted((chunk, count) for chunk, count in counts.items() if count > 0)
    learners = {"wordpiece": _learn_wordpiece, "bpe": _learn_bpe, "unigram": _learn_unigram}
    return learners[config.kind](ordered, config)


def _learn_wordpiece(ordered: list[tuple[str, int]], config: TokenizerConfig) -> tokenizers.Tokenizer:
    # Without special tokens: otherwise a "[MASK]" in the corpus is learned as pieces into which no text is split.
    backend = kinds.wordpiece({}, lowercase=config.lowercase)
    kept = _alphabet(ordered, backend)
    inside = [c for c in kept if len(backend.pre_tokenizer.pre_tokenize_str(f"a{c}")) == 1]
    # Given as special tokens: otherwise the trainer numbers them in the order of a hash map with a random seed, and
    # merges of equal frequency follow these numbers, so every process makes another vocabulary.
    fixed = [*kinds.SPECIAL["wordpiece"].values(), *kept, *(f"##{c}" for c in inside)]
    _check_room(len(fixed), config)
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size, special_tokens=fixed, limit_alphabet=0, show_progress=False
    )
    _train(backend, trainer, ordered, config)
    learned = backend.get_vocab()
    pieces = sorted(learned, key=learned.__getitem__)
    pieces += kinds.unused("wordpiece", config.vocab_size - len(pieces))
    return kinds.wordpiece({piece: i for i, piece in enumerate(pieces)}, lowercase=config.lowercase)


def _learn_bpe(ordered: list[tuple[str, int]], config: TokenizerConfig) -> tokenizers.Tokenizer:
    *first, mask = kinds.SPECIAL["bpe"].values()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fixed = len(alphabet) + len(first) + 1
    _check_room(fixed, config)
    backend = kinds.bpe({}, [], lowercase=config.lowercase)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(first) - 1, initial_alphabet=alphabet, show_progress=False
    )
    _train(backend, trainer, ordered, config)
    model = json.loads(backend.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].__getitem__)
    filling = kinds.unused("bpe", config.vocab_size - len(learned) - len(first) - 1)
    pieces = [*first, *learned, *filling, mask]
    merges = [tuple(merge) for merge in model["merges"]]
    return kinds.bpe({piece: i for i, piece in enumerate(pieces)}, merges, lowercase=config.lowercase)


def _learn_unigram(ordered: list[tuple[str, int]], config: TokenizerConfig) -> tokenizers.Tokenizer:
    special = list(kinds.SPECIAL["unigram"].values())
    backend = kinds.unigram([], lowercase=config.lowercase)
    alphabet = {*_alphabet(ordered, backend), *_PRINTABLE, "▁"}
    if config.lowercase:
        alphabet -= {c for c in _PRINTABLE if c.isupper()}
    _check_room(len(special) + len(alphabet), config)
    room = config.vocab_size - len(special)
    learned = _sentencepieces(_words(_scaled(ordered, config), backend, alphabet), size=room)
    # It computes its character coverage in float32, so the rarest characters of a large corpus are missing.
    lowest = min(learned.values(), default=-1.0)
    letters = [(character, learned.pop(character, lowest)) for character in alphabet]
    others = list(learned.items())[: room - len(letters)]
    kept = sorted(letters + others, key=lambda item: (-item[1], item[0]))
    filling = kinds.unused("unigram", room - len(kept))
    pieces = [*((name, 0.0) for name in special), *kept, *((name, kinds.NEVER) for name in filling)]
    return kinds.unigram(pieces, lowercase=config.lowercase)


def _words(
    counted: Iterable[tuple[str, int]], backend: tokenizers.Tokenizer, alphabet: set[str]
) -> list[tuple[str, int]]:
    """The words of the chunks with their counts, the most frequent ones.

    Characters outside of the alphabet cut a word, as does the longest length. The parts are trained on too; without a
    ▁ they do not begin a word.
    """
    known = re.compile(f"[{re.escape(''.join(sorted(alphabet - _RESERVED)))}]{{1,{_LONGEST}}}")
    counts: Counter[str] = Counter()
    for chunk, count in bar(counted, description="vocabulary: words", unit="chunks"):
        normalized = backend.normalizer.normalize_str(chunk)
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized):
            for part in known.findall(word):
                counts[part] += count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_DISTINCT]


def _sentencepieces(words: list[tuple[str, int]], *, size: int) -> dict[str, float]:
    """At most `size` pieces with their log probabilities, most probable first, as SentencePiece learns them."""
    from sentencepiece import SentencePieceTrainer

    if not words:
        return {}
    model = io.BytesIO()
    with bar(description="vocabulary: SentencePiece", total=1, unit="vocabularies") as progress:
        SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in words),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=size + 1,  # with <unk>, which it requires
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            normalization_rule_name="identity",
            add_dummy_prefix=False,  # the words have one already
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            num_threads=_THREADS,
            minloglevel=2,
        )
        progress.update()
    pieces = sentencepiece_model.parse(model.getvalue()).pieces
    return {piece.name: piece.score for piece in pieces[1:]}


def _alphabet(ordered: list[tuple[str, int]], backend: tokenizers.Tokenizer) -> list[str]:
    """The most frequent characters, in the order of their code points."""
    counts: Counter[str] = Counter()
    by_count = sorted(ordered, key=lambda item: (item[1], item[0]))
    for count, group in groupby(by_count, key=lambda item: item[1]):
        for text in _joined((chunk for chunk, _ in group), separator="\n"):
            for character, n in Counter(backend.normalizer.normalize_str(text)).items():
                counts[character] += n * count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return sorted([character for character, _ in ranked if not character.isspace()][:_ALPHABET])


def _joined(chunks: Iterable[str], *, separator: str) -> Iterator[str]:
    batch: list[str] = []
    length = 0
    for chunk in chunks:
        batch.append(chunk)
        length += len(chunk)
        if length >= _STRING_CHARACTERS:
            yield separator.join(batch)
            batch, length = [], 0
    if batch:
        yield separator.join(batch)


def _check_room(needed: int, config: TokenizerConfig) -> None:
    if config.vocab_size < needed:
        reason = {
            "wordpiece": "the corpus has that many special tokens and characters (each at the start and inside of words)",
            "bpe": "there are that many special tokens and bytes",
            "unigram": "the corpus and ASCII have that many special tokens and characters",
        }[config.kind]
        raise ConfigError([f"config.tokenizer.vocab_size={config.vocab_size} must be >= {needed}: {reason}"])


def _scaled(ordered: list[tuple[str, int]], config: TokenizerConfig) -> list[tuple[str, int]]:
    """The counts, scaled down together where they are more than `training_words`."""
    scale = min(1.0, config.training_words / max(sum(count for _, count in ordered), 1))
    return [(chunk, math.ceil(count * scale)) for chunk, count in ordered]


def _train(
    backend: tokenizers.Tokenizer,
    trainer: trainers.Trainer,
    ordered: list[tuple[str, int]],
    config: TokenizerConfig,
) -> None:
    """Trains `backend` on each chunk as often as it occurs."""
    repeats = _scaled(ordered, config)
    with bar(
        description="vocabulary: words", total=sum(n for _, n in repeats), unit="words", unit_scale=True
    ) as progress:

        def texts() -> Iterator[str]:
            batch: list[str] = []
            length = 0
            for chunk, n in repeats:
                if chunk[:1] != " ":  # begins a line, as the beginning of a string does
                    yield from (chunk for _ in range(n))
                else:
                    at_once = max(1, _STRING_CHARACTERS // len(chunk))
                    for done in range(0, n, at_once):
                        batch.append(chunk * min(at_once, n - done))
                        length += len(batch[-1])
                        if length >= _STRING_CHARACTERS:
                            yield "".join(batch)
                            batch, length = [], 0
                progress.update(n)
            yield "".join(batch)
            progress.set_description("vocabulary: merges")

        backend.train_from_iterator(texts(), trainer)
