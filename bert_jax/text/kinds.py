"""The three kinds of tokenizer: their special tokens, and how they are built from a vocabulary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

# Role -> token, in the order of the ids of a vocabulary trained here. BPE's <mask> is the last entry, as in RoBERTa.
SPECIAL: dict[str, dict[str, str]] = {
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "bpe": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "unigram": {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
}
# The names of each role in published vocabularies; the first match counts.
NAMES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}
UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>")
# The score of unused Unigram pieces: below that of any other spelling of their names.
NEVER = -10_000.0


def unused(kind: str, count: int) -> list[str]:
    """Names for the entries that a small corpus leaves over."""
    return [f"<unused{i}>" if kind == "bpe" else f"[unused{i}]" for i in range(count)]


def wordpiece(vocabulary: Mapping[str, int], *, lowercase: bool) -> tokenizers.Tokenizer:
    """BERT's: cleaning, splitting at spaces, punctuation and CJK, then WordPiece."""
    backend = bare_wordpiece(vocabulary, lowercase=lowercase)
    special = SPECIAL["wordpiece"]
    if vocabulary.keys() >= set(special.values()):
        backend.add_special_tokens(list(special.values()))
        frame_as_bert(backend, cls=special["cls"], sep=special["sep"])
    return backend


def bare_wordpiece(
    vocabulary: Mapping[str, int],
    *,
    lowercase: bool,
    strip_accents: bool | None = None,
    separate_cjk: bool = True,
    unk: str = "[UNK]",
) -> tokenizers.Tokenizer:
    """`wordpiece` without special tokens and their frame. strip_accents: None is as lowercase."""
    backend = tokenizers.Tokenizer(
        models.WordPiece(dict(vocabulary), unk_token=unk, max_input_chars_per_word=100)
    )
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=separate_cjk
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def bpe(
    vocabulary: Mapping[str, int], merges: Iterable[tuple[str, str]], *, lowercase: bool
) -> tokenizers.Tokenizer:
    """RoBERTa's: GPT-2's byte-level BPE, a space belonging to the word after it, between <s> and </s>; or
    DeBERTa's, where the vocabulary has [CLS] and so on instead."""
    backend = bare_bpe(vocabulary, merges)
    if lowercase:
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFC()]
        )
    for special in (SPECIAL["bpe"], SPECIAL["wordpiece"]):
        if vocabulary.keys() >= set(special.values()):
            mask = AddedToken(special["mask"], lstrip=True, special=True, normalized=False)
            backend.add_special_tokens([*list(special.values())[:-1], mask])
            frame_as_roberta(backend, cls=special["cls"], sep=special["sep"])
            break
    return backend


def bare_bpe(
    vocabulary: Mapping[str, int], merges: Iterable[tuple[str, str]], *, add_prefix_space: bool = False
) -> tokenizers.Tokenizer:
    """`bpe` without special tokens and their frame."""
    # Without an unknown token: every byte has an entry.
    backend = tokenizers.Tokenizer(models.BPE(dict(vocabulary), list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def unigram(pieces: Sequence[tuple[str, float]], *, lowercase: bool) -> tokenizers.Tokenizer:
    """ALBERT's: each word with a ▁ before it, cut into the most probable pieces. Ids as in `SPECIAL`."""
    special = list(SPECIAL["unigram"].values())
    if not pieces:
        model = models.Unigram()
    else:
        model = models.Unigram(list(pieces), unk_id=special.index("<unk>"), byte_fallback=False)
    backend = tokenizers.Tokenizer(model)
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if lowercase:
        steps += [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    else:
        steps += [normalizers.NFKC()]
    backend.normalizer = normalizers.Sequence(steps)
    unigram_words(backend)
    if pieces:
        backend.add_special_tokens(special)
        frame_as_bert(backend, cls="[CLS]", sep="[SEP]")
    return backend


def unigram_words(backend: tokenizers.Tokenizer) -> None:
    """Cuts text at whitespace and puts a ▁ before each word, as SentencePiece does."""
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")


def frame_as_bert(backend: tokenizers.Tokenizer, *, cls: str, sep: str) -> None:
    """[CLS] A [SEP] B [SEP], the types of B and its [SEP] being 1."""
    backend.post_processor = processors.TemplateProcessing(
        single=[f"{cls}:0", "$A:0", f"{sep}:0"],
        pair=[f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys((cls, sep))],
    )


def frame_as_roberta(
    backend: tokenizers.Tokenizer, *, cls: str, sep: str, add_prefix_space: bool = False
) -> None:
    """<s> A </s> </s> B </s>, all types being 0; offsets leave out the space before a word."""
    ids = backend.get_vocab()
    backend.post_processor = processors.RobertaProcessing(
        (sep, ids[sep]),
        (cls, ids[cls]),
        trim_offsets=True,
        add_prefix_space=add_prefix_space,
    )


def for_plain_text(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same tokenizer (itself or a copy), for which the name of a special token is ordinary text.

    WordPiece and BPE spell such names, because `encode_special_tokens` excludes the tokens themselves. Unigram has
    them among its pieces and would still match them, so a copy holds them under names that no line contains, as
    SentencePiece excludes its control symbols from its search.
    """
    if not isinstance(backend.model, models.Unigram):
        backend.encode_special_tokens = True
        return backend
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    raw = json.loads(backend.to_str())
    raw["post_processor"] = raw["padding"] = raw["truncation"] = None
    for token in raw["added_tokens"]:  # renamed, not removed: those after them keep their ids
        if token["special"]:
            token["content"] = f"\n{token['content']}"
    raw["model"]["vocab"] = [
        [f"\n{piece}" if piece in special or UNUSED.fullmatch(piece) else piece, score]
        for piece, score in raw["model"]["vocab"]
    ]
    plain = tokenizers.Tokenizer.from_str(json.dumps(raw))
    plain.encode_special_tokens = True
    return plain
