"""Reading a tokenizer: a folder as it is published, a file in one, or a vocabulary alone.

Every reader of a tokenizer comes here, so that a folder has the same ids everywhere. They are those of AutoTokenizer
of `transformers` 5, or the folder is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from bert_jax import json_file
from bert_jax.errors import UserError, is_panic
from bert_jax.text import classes, kinds, sentencepiece_model, settings, vocabulary_files
from bert_jax.text.classes import TokenizerClass
from bert_jax.text.settings import Settings, Token, str_of
from bert_jax.text.vocabulary_files import Vocabulary

_EXPECTED = "expected a tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece .model"
_JSON = "tokenizer.json"
_TRIAL = "A trial, naïve and 1st: “数学” ﬁ 🦊"
_MOST_GROWTH, _MOST_PIECES = 64, 64
_FORMS = (("vocab.json", "merges.txt"), ("vocab.txt",), ("spiece.model",), ("spm.model",))


def read(path: Path, *, lowercase: bool | None) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The tokenizer of a folder, and its special tokens by role.

    path: a folder; or a file: one of a usual name stands for its folder, another is the vocabulary, with what the
      folder says of it.
    lowercase: of a vocab.txt, or of vocab.json with merges.txt, whose folder says neither this nor the class or model
      that it belongs to. Without it, and where only the class is known, a vocab.txt is cased if it has capital letters:
      no uncased tokenizer could use them.

    Raises:
      UserError: there is no such file; it cannot be read; the folder asks for what is not done here.
    """
    folder = path if path.is_dir() else path.parent
    file = _choose(path)
    is_json = file.suffix == ".json" and file.name != "vocab.json"
    try:
        raw = json_file.read(file) if is_json else None
        said = settings.read(folder, raw)
        if raw is not None:
            return _tried(*_of_json(file, raw, said))
        if said.is_declared and said.known is None:
            raise UserError(
                f"{folder}: its tokenizer_class needs a {_JSON}, which is not there: write one with transformers'"
                " AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
            )
        if path.is_dir() and said.known is not None:
            file = next((folder / name for name in said.known.files if (folder / name).is_file()), file)
        return _tried(*_of_files(file, said, lowercase))
    except UserError:
        raise
    except BaseException as error:  # the library raises bare Exception
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise UserError(f"{file}: not a vocabulary that can be read: {_one_line(error)}") from error


def _tried(
    backend: tokenizers.Tokenizer, roles: dict[str, str]
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The same, once it has encoded something: some faults of a file show only then.

    Raises:
      ValueError: an id that no vocabulary reaches.
    """
    vocabulary_files.check_ids(backend.get_vocab())
    backend.decode(backend.encode(_TRIAL).ids)
    return backend, roles


def _check_growth(raw: Mapping[str, Any]) -> None:
    """Refuses what would make a long text of a short one, without bound: no tokenizer that is published does.

    Raises:
      ValueError: normalizers that write much for little, or a frame of many tokens.
    """
    contents = [
        step["content"] for step in vocabulary_files.steps(raw.get("normalizer")) if "content" in step
    ]
    growth = math.prod(max(1, len(content)) for content in contents)
    if growth > _MOST_GROWTH:
        raise ValueError(
            f"its normalizer makes up to {growth} characters of one, must make <= {_MOST_GROWTH}"
        )
    frame = raw.get("post_processor") or {}
    pieces = max((len(frame.get(template) or ()) for template in ("single", "pair")), default=0)
    if pieces > _MOST_PIECES:
        raise ValueError(f"its post_processor has a frame of {pieces} pieces, must have <= {_MOST_PIECES}")
    if "single" in frame and not any("Sequence" in piece for piece in frame["single"] or ()):
        raise ValueError("its post_processor has a frame without the text")


def has_tokenizer(folder: Path) -> bool:
    """Whether `read` finds a tokenizer in the folder."""
    return _in_folder(folder) is not None


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def _in_folder(folder: Path) -> Path | None:
    for form in ((_JSON,), *_FORMS):
        if all((folder / name).is_file() for name in form):
            return folder / form[0]
    found = sorted(folder.glob("*.model"))
    return found[0] if len(found) == 1 else None


def _choose(path: Path) -> Path:
    if path.is_dir():
        file = _in_folder(path)
    elif any(path.name in form for form in _FORMS) and (path.parent / _JSON).is_file():
        file = path.parent / _JSON
    else:
        file = path
    if file is None or not file.is_file():
        raise UserError(f"no vocabulary at {path}: {_EXPECTED}")
    return file


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


# ---------------------------------------------------------------------------------------------
# Building
# ---------------------------------------------------------------------------------------------


def _of_json(
    file: Path, raw: Mapping[str, Any], said: Settings
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    _check_growth(raw)
    backend = tokenizers.Tokenizer.from_file(str(file))
    backend.no_padding()
    backend.no_truncation()
    known = said.known
    if known is None:
        if getattr(backend.model, "dropout", None):
            raise UserError(
                f"{file}: model.dropout={backend.model.dropout} must be 0: ids would be drawn at random"
            )
        _check_roles(file, backend.get_vocab(), said, _roles(_strings(said.named)))
        _add_tokens(
            backend, file, said, list(said.named.values()), said.late if said.extra is None else said.extra
        )
        return backend, _roles(_strings(said.named))
    vocabulary = vocabulary_files.from_json(file, raw, backend.post_processor)
    settings.check_agreement(said, known, vocabulary, raw)
    return _build(known, vocabulary, said, settings.options(said, known))


def _of_files(
    file: Path, said: Settings, lowercase: bool | None
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    vocabulary = vocabulary_files.read(file)
    known = said.known or _class_by_form(vocabulary)
    if vocabulary.model != known.model:
        raise UserError(
            f"{file}: its model is {vocabulary.model}, {known.name}, the folder's class, needs {known.model}: add its"
            f" {' and '.join(known.files)}, or a {_JSON}"
        )
    if said.known is None and not said.values and known is not classes.BERT:
        if vocabulary.model == "BPE":
            backend = kinds.bpe(vocabulary.ids, vocabulary.merges, lowercase=bool(lowercase))
        else:
            backend = sentencepiece_model.read(file)
        _check_roles(file, backend.get_vocab(), said, _roles(_strings(said.named)))
        _add_tokens(
            backend, file, said, list(said.named.values()), said.late if said.extra is None else said.extra
        )
        return backend, _roles(_strings(said.named))
    options = settings.options(said, known)
    if known is classes.BERT and said.values.get("do_lower_case") is None:
        use = None if said.is_declared else lowercase
        options["do_lower_case"] = _is_uncased(vocabulary) if use is None else use
    if known is classes.ALBERT:
        for key in ("add_bos_token", "add_eos_token"):
            if key in said.values:
                raise said.refuse(
                    key, said.values[key], "would take the special tokens from around a text: remove it"
                )
    return _build(known, vocabulary, said, options)


def _class_by_form(vocabulary: Vocabulary) -> TokenizerClass:
    """Where no file names the class."""
    if vocabulary.model == "Unigram":
        return classes.DEBERTA_V2 if vocabulary.file.name == "spm.model" else classes.ALBERT
    if vocabulary.model == "WordPiece":
        return classes.BERT
    return classes.DEBERTA if "[CLS]" in vocabulary.ids else classes.ROBERTA


def _is_uncased(vocabulary: Vocabulary) -> bool:
    """Whether no token has capital letters, which text in lower case would never give; special ones aside."""
    return all(token == token.lower() for token in vocabulary.ids if token[:1] not in ("[", "<"))


def _build(
    known: TokenizerClass, vocabulary: Vocabulary, said: Settings, options: Mapping[str, Any]
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    named: dict[str, Token | None] = {**known.special, **said.named}
    in_order = [role for role in settings.ROLES if role in named]
    tokens = [named[name] for name in dict.fromkeys([*in_order, *named])]
    special = _strings(named)
    roles = {role: special.get(role, f"{role}_token") for role in kinds.NAMES}
    _check_roles(vocabulary.file, vocabulary.ids, said, roles)
    backend = known.build(vocabulary, options, special)
    extra = said.extra
    if extra is None:
        extra = list(vocabulary.symbols) if vocabulary.symbols else said.late
    _add_tokens(backend, vocabulary.file, said, tokens, extra)
    known.frame(backend, vocabulary, options, special)
    return backend, _roles(special)


def _check_roles(file: Path, ids: Mapping[str, int], said: Settings, special: Mapping[str, str]) -> None:
    """A [MASK] after the last piece is DeBERTa-v3's; any other id would be made up."""
    present = {token.content for token in said.added.values()} | ids.keys()
    missing = [token for token in special.values() if token not in present]
    if file.suffix == ".model" and special.get("mask") != "mask_token":
        missing = [token for token in missing if token != special.get("mask")]
    if missing:
        raise UserError(
            f"{file}: the vocabulary lacks the special tokens {', '.join(missing)}: name those it has in"
            f" {said.place.name} (pad_token, unk_token, cls_token, sep_token, mask_token)"
        )


def _roles(special: Mapping[str, str]) -> dict[str, str]:
    return {role: token for role, token in special.items() if role in kinds.NAMES}


def _strings(named: Mapping[str, Token | None]) -> dict[str, str]:
    return {name: str_of(token) for name, token in named.items() if token is not None}


def _add_tokens(
    backend: tokenizers.Tokenizer,
    file: Path,
    said: Settings,
    named: list[Token | None],
    extra: Sequence[Token],
) -> None:
    """Adds what the folder says is beyond the vocabulary, in the order of `transformers`, and checks the ids."""
    there = backend.get_added_tokens_decoder()
    has = {repr(token) for token in there.values()}
    adding: list[AddedToken] = [token for _, token in sorted(said.added.items()) if repr(token) not in has]
    names = {token.content for token in (*there.values(), *adding)}
    for token in (*named, *extra):
        if token is not None and str_of(token) not in names:
            adding.append(AddedToken(token, special=True) if isinstance(token, str) else token)
            names.add(str_of(token))
    roles = {str_of(token) for token in named if token is not None}
    for token in adding:
        token.special = token.special or token.content in roles
    backend.add_tokens(adding)
    for index, token in said.added.items():
        if (found := backend.token_to_id(token.content)) != index:
            raise UserError(
                f"{said.folder}: the added token {json.dumps(token.content, ensure_ascii=False)} must have the id"
                f" {found}, the next after {file.name}'s or its own there, not {index}: use the files that were saved"
                " together"
            )
    ids = backend.get_vocab()
    if len(set(ids.values())) < len(ids):
        raise UserError(f"{file}: two of its tokens have the same id: download or export it again")
    lost = [str_of(token) for token in said.late if str_of(token) not in names]
    if lost:
        raise UserError(
            f"{said.folder / 'special_tokens_map.json'}: additional_special_tokens names {lost[0]!r}, which"
            f" transformers passes over beside the special tokens of other files: add it to"
            f" additional_special_tokens of {said.place.name}"
        )
