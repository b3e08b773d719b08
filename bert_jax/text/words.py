"""The words of a text, for a text that comes uncut."""

from __future__ import annotations

import tokenizers
from tokenizers import normalizers, pre_tokenizers

_CLEAN = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
_CUT = pre_tokenizers.BertPreTokenizer()


def cut_words(text: str) -> list[tuple[int, int]]:
    """[start, end) of each word, in characters: white space parts words; punctuation marks and CJK characters are words
    of their own (the basic tokenizer of Devlin et al. 2019's code)."""
    pieces = tokenizers.PreTokenizedString(text)
    pieces.normalize(_CLEAN.normalize)
    _CUT.pre_tokenize(pieces)
    return [offsets for _, offsets, _ in pieces.get_splits("original", "char")]
