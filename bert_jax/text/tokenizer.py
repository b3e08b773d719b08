"""Vocabularies: training, loading and saving, all through the `tokenizers` library."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from bert_jax.config import TokenizerConfig
from bert_jax.errors import ConfigError, UserError

# Ids 0 to 4 of a vocabulary trained here. A loaded vocabulary keeps its own ids.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokens that carry structure."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


class Tokenizer:
    """A trained subword vocabulary: text to ids and back."""

    def __init__(self, backend: tokenizers.Tokenizer):
        self.backend = backend
        vocabulary = backend.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing:
            raise UserError(f"the vocabulary lacks the special tokens {', '.join(missing)}")
        pad, unk, cls, sep, mask = (vocabulary[token] for token in SPECIAL_TOKENS)
        self.special = SpecialIds(pad=pad, unk=unk, cls=cls, sep=sep, mask=mask)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text`; see `encode_batch`."""
        return self.encode_batch([text], special=special)[0]

    def encode_batch(self, texts: list[str], *, special: bool = False) -> list[list[int]]:
        """Ids of each text, over all cores.

        special: put [CLS] and [SEP] around each text, and read a "[MASK]" in it as the token. Without,
        such words are ordinary text: a corpus that mentions "[SEP]" must not get structure from it.
        """
        self.backend.encode_special_tokens = not special
        return [e.ids for e in self.backend.encode_batch_fast(texts, add_special_tokens=special)]

    def decode(self, ids: Iterable[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def token(self, index: int) -> str:
        return self.backend.id_to_token(index) or f"[{index}]"

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json and vocab.txt, as `transformers` reads them."""
        (folder / "tokenizer.json").write_text(self.backend.to_str(pretty=True) + "\n", encoding="utf-8")
        by_id = sorted(self.backend.get_vocab().items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")


def load(path: str | Path, *, lowercase: bool = True) -> Tokenizer:
    """A tokenizer from tokenizer.json, or from vocab.txt (WordPiece, cased as `lowercase` says).

    Raises:
      UserError: no such file, unreadable, or without BERT's special tokens.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no vocabulary at {path}: expected a tokenizer.json or vocab.txt")
    try:
        if path.suffix == ".json":
            backend = tokenizers.Tokenizer.from_file(str(path))
            backend.no_padding()
            backend.no_truncation()
        else:
            tokens = path.read_text(encoding="utf-8").split("\n")
            tokens = tokens[:-1] if tokens[-1] == "" else tokens
            backend = _wordpiece({token: i for i, token in enumerate(tokens)}, lowercase)
            if len(tokens) != backend.get_vocab_size():
                raise UserError(f"{path}: {len(tokens)} lines but {backend.get_vocab_size()} distinct tokens")
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path}: not a vocabulary that can be read: {error}") from error
    try:
        return Tokenizer(backend)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def train(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Trains a WordPiece vocabulary of exactly `config.vocab_size` entries.

    A corpus too small for that many pieces leaves entries named [unused0], [unused1], ... as the
    published vocabularies have them.

    Raises:
      ConfigError: `vocab_size` cannot even hold the special tokens and the alphabet.
    """
    # Without special tokens, or a "[MASK]" in the corpus would be learned as pieces that no text splits into.
    backend = _wordpiece({}, config.lowercase)
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *_alphabet(texts, backend)],
        limit_alphabet=0,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    size = backend.get_vocab_size()
    if size > config.vocab_size:  # the library keeps the alphabet whatever size was asked for
        raise ConfigError(
            [
                f"config.tokenizer.vocab_size={config.vocab_size} must be >= {size}: the corpus has that many"
                " special tokens and characters (each at the start and inside of words)"
            ]
        )
    pieces = sorted(backend.get_vocab(), key=backend.get_vocab().__getitem__)
    pieces += [f"[unused{i}]" for i in range(config.vocab_size - size)]
    return Tokenizer(_wordpiece({token: i for i, token in enumerate(pieces)}, config.lowercase))


def _alphabet(texts: Iterable[str], backend: tokenizers.Tokenizer) -> list[str]:
    """The 1,000 most frequent characters, at the start and inside of words, in an order that the text decides.

    Left to itself the trainer numbers them in the order of a hash map with a random seed, and merges of equal
    frequency then follow these numbers: another vocabulary in every process.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(backend.normalizer.normalize_str(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = sorted([character for character, _ in ranked if not character.isspace()][:1000])
    inside = [c for c in kept if len(backend.pre_tokenizer.pre_tokenize_str(f"a{c}")) == 1]
    return [*kept, *(f"##{c}" for c in inside)]


def _wordpiece(vocabulary: dict[str, int], lowercase: bool) -> tokenizers.Tokenizer:
    """BERT's tokenizer: cleaning, splitting at spaces, punctuation and CJK, then WordPiece."""
    backend = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    known = [token for token in SPECIAL_TOKENS if token in vocabulary]
    if len(known) == len(SPECIAL_TOKENS):
        backend.add_special_tokens(known)
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
        )
    return backend
