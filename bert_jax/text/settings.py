"""What the JSON files beside a vocabulary say of it, put together as `transformers` 5 does.

tokenizer_config.json, special_tokens_map.json, added_tokens.json, and config.json for the class of tokenizer. Of the
keys of tokenizer_config.json
  - the options of the class (`classes.TokenizerClass.options`), special tokens and added tokens are taken;
  - those in `REFUSED` would change ids in a way that is not computed here, and are refused;
  - all others change no id: no class here takes them, in `transformers` 5 either. Among these are model_max_length,
    clean_up_tokenization_spaces, padding_side, truncation_side, model_input_names, name_or_path, trim_offsets,
    errors, backend, chat_template and, of RoBERTa's and DeBERTa's classes, do_lower_case.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from bert_jax import json_file
from bert_jax.errors import UserError
from bert_jax.text import classes
from bert_jax.text.classes import TokenizerClass
from bert_jax.text.vocabulary_files import Vocabulary

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""In the order in which `transformers` adds those that no file has."""
AS_IT_STANDS_ADVICE = 'to read a tokenizer.json as it stands, here and in transformers, set "tokenizer_class": "PreTrainedTokenizerFast"'

Token = str | AddedToken
_FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")

# Key -> the values that change no id. Of every class:
_REFUSED = {
    "split_special_tokens": (None, False),
    "fast_tokenizer_files": (None, [], ["tokenizer.json"]),
    "init_inputs": (None, [], ()),
    "vocab": (None,),
    "merges": (None,),
    "auto_map": (None,),
    "dropout": (None, 0),
}
# Of those that are built from a vocabulary: what other classes, and older versions of these, take.
_REFUSED_OF_CLASSES = {
    "do_basic_tokenize": (None, True),
    "clean_text": (None, True),
    "wordpieces_prefix": (None, "##"),
    "max_input_chars_per_word": (None, 100),
    "do_word_tokenize": (None, True),
    "do_subword_tokenize": (None, True),
    "word_tokenizer_type": (None, "basic"),
    "subword_tokenizer_type": (None, "wordpiece"),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
    "normalization": (None, False),
    "remove_space": (None, True),
    "sp_model_kwargs": (None, {}),
    "lowercase": (None,),  # these two are common slips for do_lower_case
    "do_lowercase": (None,),
}
_VOCAB_TYPES = {"DebertaTokenizer": (None, "gpt2"), "DebertaV2Tokenizer": (None, "spm")}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a folder says of its tokenizer.

    known: the class that builds it; None: as tokenizer.json stands, or, if not `is_declared`, as the file's form has it.
    values: of tokenizer_config.json.
    named: special tokens by role, None where there is to be none, and then those of other names.
    extra: further special tokens; None: nothing is said of any.
    late: those that special_tokens_map.json alone names.
    added: tokens beyond the vocabulary, or in it with flags of their own, by id.
    """

    folder: Path
    known: TokenizerClass | None
    is_declared: bool
    values: Mapping[str, Any]
    named: Mapping[str, Token | None]
    extra: list[Token] | None
    late: list[Token]
    added: Mapping[int, AddedToken]

    @property
    def place(self) -> Path:
        return self.folder / "tokenizer_config.json"

    def refuse(self, key: str, value: object, why: str) -> UserError:
        return UserError(f"{self.place}: {key}={_shown(value)} {why}")


def read(folder: Path, tokenizer_json: Mapping[str, Any] | None) -> Settings:
    """Of the files in `folder`; tokenizer_json: its content, where it is there.

    Raises:
      UserError: a file is not JSON or not of its form; a class that is not read here; a key in `REFUSED`.
    """
    place = folder / "tokenizer_config.json"
    values = json_file.read(place) if place.is_file() else {}
    known, is_declared = _class_of(folder, values)
    _check_keys(place, values, known)
    if isinstance(extra := values.get("extra_special_tokens"), Mapping):
        values = {key: value for key, value in values.items() if key != "extra_special_tokens"}
        more = {name: _token(raw, place, special=True) for name, raw in extra.items()}
    else:
        more = {}
    named = _named(values, place)
    older = "additional_special_tokens"
    key = older if values.get(older) is not None and not extra else "extra_special_tokens"
    extra = _listed(values, key, place)
    late: list[Token] = []
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in values:
        for index, raw in _object(values, "added_tokens_decoder", place).items():
            token = _token(raw, place, special=False)
            added[_id(index, place)] = token if isinstance(token, AddedToken) else AddedToken(token)
    else:
        beside = folder / "special_tokens_map.json"
        if beside.is_file():
            theirs = json_file.read(beside)
            named |= _named(theirs, beside)
            if isinstance(more_here := theirs.get("extra_special_tokens"), Mapping):
                more |= {name: _token(raw, beside, special=True) for name, raw in more_here.items()}
            elif (found := _listed(theirs, "extra_special_tokens", beside)) is not None:
                extra = [*(extra or []), *(token for token in found if token not in (extra or []))]
            late = _listed(theirs, "additional_special_tokens", beside) or []
        added = _legacy(folder, named, extra, tokenizer_json)
    by_content = {token.content: token for token in added.values()}
    roles = {role: named[role] for role in ROLES if role in named}
    roles = {role: token and by_content.get(str_of(token), token) for role, token in roles.items()}
    others = {name: token for name, token in named.items() if name not in roles}
    return Settings(folder, known, is_declared, values, roles | others | more, extra, late, added)


def options(settings: Settings, known: TokenizerClass) -> dict[str, Any]:
    """The options of the class, as the folder has them or by default."""
    found = dict(known.options)
    for key, default in known.options.items():
        value = settings.values.get(key, default)
        kinds = (int,) if key == "unk_id" else (bool, type(None)) if default is None else (bool,)
        if not isinstance(value, kinds):
            raise settings.refuse(key, value, f"must be {'a number' if key == 'unk_id' else 'true or false'}")
        found[key] = value
    return found


def check_agreement(
    settings: Settings, known: TokenizerClass, vocabulary: Vocabulary, raw: Mapping[str, Any]
) -> None:
    """Refuses a tokenizer.json that `transformers` would not follow although nothing overrules it.

    Where tokenizer_config.json says otherwise in words, it counts; where it is silent and the default of the class is
    not what tokenizer.json has, nothing tells which is meant.
    """
    says = f"{vocabulary.file}: {known.name}, the folder's class, would not follow it:"
    if vocabulary.model != known.model:
        raise UserError(
            f"{says} model.type={vocabulary.model!r}, must be {known.model!r}; {AS_IT_STANDS_ADVICE}"
        )
    try:
        stated = known.stated(raw)
    except ValueError as error:
        raise UserError(f"{says} {error}; {AS_IT_STANDS_ADVICE}") from None
    for key, value in stated.items():
        if key not in settings.values and value != known.options[key] and value is not None:
            if key == "strip_accents" and value == stated["do_lower_case"]:
                continue
            raise UserError(
                f"{says} it has {key}={_shown(value)}, {settings.place.name} does not say, and the class's default is"
                f' {_shown(known.options[key])}: add "{key}": {_shown(value)} to {settings.place.name}, or'
                f" {_shown(known.options[key])} to overrule it"
            )


def str_of(token: Token) -> str:
    return token if isinstance(token, str) else token.content


# ---------------------------------------------------------------------------------------------
# The class
# ---------------------------------------------------------------------------------------------


def _class_of(folder: Path, values: Mapping[str, Any]) -> tuple[TokenizerClass | None, bool]:
    """The class that builds the tokenizer, None for tokenizer.json as it stands, and whether any file says so."""
    config = json_file.read(folder / "config.json") if (folder / "config.json").is_file() else {}
    model_type = config.get("model_type")
    for kind in ("bert", "albert"):  # google-research's
        if model_type is None and (folder / f"{kind}_config.json").is_file():
            model_type = kind
    for name, raw in (("tokenizer_config.json", values), ("config.json", config)):
        declared = raw.get("tokenizer_class")
        if declared is None:
            continue
        if declared in classes.AS_IT_STANDS or model_type == "modernbert":
            return None, True
        found = classes.BY_NAME.get(str(declared).removesuffix("Fast"))
        if found is None:
            raise UserError(
                f"{folder / name}: tokenizer_class={declared!r} is not read here, must be one of"
                f" {', '.join(classes.BY_NAME)} (each also with Fast), {', '.join(classes.AS_IT_STANDS[1:3])};"
                f" {AS_IT_STANDS_ADVICE}"
            )
        return found, True
    if model_type is None:
        return None, False
    if model_type == "modernbert":
        return None, True
    if model_type not in classes.BY_MODEL_TYPE:
        raise UserError(
            f"{folder / 'config.json'}: model_type={model_type!r}, whose tokenizer is not read here, must be one of"
            f" {', '.join(classes.BY_MODEL_TYPE)}; {AS_IT_STANDS_ADVICE} in tokenizer_config.json"
        )
    return classes.BY_MODEL_TYPE[model_type], True


def _check_keys(place: Path, values: Mapping[str, Any], known: TokenizerClass | None) -> None:
    refused: dict[str, tuple[Any, ...]] = dict(_REFUSED)
    if known is not None:
        refused |= _REFUSED_OF_CLASSES
        refused["vocab_type"] = _VOCAB_TYPES.get(known.name, (values.get("vocab_type"),))
    for key, harmless in refused.items():
        if key in values and values[key] not in harmless:
            raise UserError(
                f"{place}: {key}={_shown(values[key])} would give other ids, in a way that is not read here;"
                f" {AS_IT_STANDS_ADVICE}"
            )
    never = values.get("never_split")
    if known is not None and never:
        named = _named(values, place).values()
        special = {str_of(token) for token in named if token is not None} | set(known.special.values())
        if not isinstance(never, list) or not special.issuperset(map(str, never)):
            raise UserError(
                f"{place}: never_split={_shown(never)} must name special tokens alone, which are never split: add the"
                " others to added_tokens_decoder"
            )


# ---------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------


def _legacy(
    folder: Path,
    named: Mapping[str, Token | None],
    extra: list[Token] | None,
    tokenizer_json: Mapping[str, Any] | None,
) -> dict[int, AddedToken]:
    """Where there is no added_tokens_decoder: of added_tokens.json, and of tokenizer.json."""
    added = {}
    path = folder / "added_tokens.json"
    if path.is_file():
        roles = (named.get(role) for role in ROLES)
        special = {str_of(token) for token in (*roles, *(extra or [])) if token is not None}
        for content, index in json_file.read(path).items():
            is_special = content in special
            added[_id(index, path)] = AddedToken(content, normalized=not is_special, special=is_special)
    for raw in (tokenizer_json or {}).get("added_tokens") or []:
        token = _token(raw, folder / "tokenizer.json", special=False)
        added[_id(raw["id"], folder / "tokenizer.json")] = (
            token if isinstance(token, AddedToken) else AddedToken(token)
        )
    return added


def _named(values: Mapping[str, Any], place: Path) -> dict[str, Token | None]:
    """{role, or what another key has before "_token": token}; None: the role has none, in so many words."""
    found: dict[str, Token | None] = {}
    for key, value in values.items():
        name = key.removesuffix("_token")
        if name == key or (name not in ROLES and not isinstance(value, str | Mapping)):
            continue  # such as "add_bos_token": true
        found[name] = None if value is None else _token(value, place, special=True)
    return found


def _listed(values: Mapping[str, Any], key: str, place: Path) -> list[Token] | None:
    listed = values.get(key)
    if listed is None:
        return None
    if not isinstance(listed, list):
        raise UserError(f"{place}: {key}={_shown(listed)} must be a list of tokens")
    return [_token(raw, place, special=True) for raw in listed]


def _token(raw: Any, place: Path, *, special: bool) -> Token:
    """A token as JSON has it: its text, or an object of its text and flags. special: where it has no such flag."""
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, Mapping) or not isinstance(raw.get("content"), str):
        raise UserError(f'{place}: {_shown(raw)} must be a token: a string, or an object with "content"')
    flags = {flag: raw[flag] for flag in _FLAGS if flag in raw}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise UserError(f"{place}: {_shown(raw)}: the flags {', '.join(_FLAGS)} must be true or false")
    return AddedToken(raw["content"], **({"special": special} | flags))


def _id(raw: Any, place: Path) -> int:
    if not isinstance(raw, bool) and str(raw).isdecimal():
        return int(raw)
    raise UserError(f"{place}: {_shown(raw)} must be a token's id, a number")


def _object(values: Mapping[str, Any], key: str, place: Path) -> Mapping[str, Any]:
    if not isinstance(values[key], Mapping):
        raise UserError(f"{place}: {key}={_shown(values[key])} must be an object of ids and tokens")
    return values[key]


def _shown(value: object) -> str:
    """As JSON has it, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
