"""The files that make an encoder a model of sentence-transformers: which vector it takes for a text.

modules.json                        the modules in order: Transformer, Pooling and perhaps Normalize
1_Pooling/config.json               cls, mean or another mode
sentence_bert_config.json           the longest text in tokens, whether text is lower-cased first
config_sentence_transformers.json   prompts, the score of two vectors
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_jax import json_file
from bert_jax.config.head import HeadConfig
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.text import files

_MODULES, _SETTINGS, _MODEL = (
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
)  # fmt: skip
_POOLING = "1_Pooling"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Key -> the name that version 5.4 and later write as `pooling_mode`."""


def read_head(folder: Path, config: ModelConfig) -> tuple[HeadConfig, tuple[str, ...]]:
    """The head of kind "embedding" of a directory of sentence-transformers, and notes on what else it asks for.

    A directory without modules.json, or whose vector is not computed here, has no such head; a note names why.

    Raises:
      UserError: a file that cannot be read, or a Pooling module without its config.
    """
    if not (folder / _MODULES).is_file():
        return HeadConfig(), ()
    modules = _modules(folder / _MODULES)
    kinds = [kind for kind, _ in modules]
    others = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    place = folder / _MODULES
    if others or kinds[:2] != ["Transformer", "Pooling"] or kinds.count("Pooling") > 1:
        return HeadConfig(), (
            f"{place}: its vectors come from {', '.join(kinds)}, here only Transformer and Pooling are computed: the"
            " encoder is read without an embedding head",
        )
    path = folder / modules[1][1] / "config.json"
    modes = _pooling_modes(path)
    if modes not in (["cls"], ["mean"]):
        return HeadConfig(), (
            f"{path}: pooling mode {' and '.join(modes) or 'none'} must be cls or mean to be computed here: the encoder"
            " is read without an embedding head",
        )
    head = HeadConfig(kind="embedding", pooling="cls" if modes == ["cls"] else "mean")
    notes = [f"{place}: Normalize is left out, which no cosine depends on"] if "Normalize" in kinds else []
    return head, (*notes, *_notes(folder, config))


def write(folder: Path, config: ModelConfig) -> None:
    """The files for the encoder that `folder` holds and `config.head`, of kind "embedding"; the names of modules are
    those that every version of sentence-transformers knows."""
    types = (("", "Transformer"), (_POOLING, "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(types)
    ]
    (folder / _MODULES).write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    (folder / _POOLING).mkdir()
    modes = {key: mode == config.head.pooling for key, mode in _MODES.items()}
    pooling = {"word_embedding_dimension": config.hidden_size, **modes, "include_prompt": True}
    files.write_json(folder / _POOLING / "config.json", pooling)
    files.write_json(folder / _SETTINGS, {"max_seq_length": config.max_positions, "do_lower_case": False})
    files.write_json(
        folder / _MODEL, {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    )


def _modules(path: Path) -> list[tuple[str, str]]:
    """(class without its package, folder) of each module."""
    raw = json_file.read(path, list)
    try:
        modules = [(str(module["type"]).rpartition(".")[2], str(module.get("path", ""))) for module in raw]
    except (AttributeError, KeyError, TypeError):
        raise UserError(
            f"{path}: each module must be an object with type and path: download it again"
        ) from None
    for _, name in modules:
        if name and not json_file.is_file_name(
            name
        ):  # the file may come from anywhere and must not lead elsewhere
            raise UserError(f"{path}: path {name!r} must be the name of a folder beside it")
    return modules


def _pooling_modes(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file, and modules.json has a Pooling module: download it too")
    raw = json_file.read(path)
    mode = raw.get("pooling_mode")
    if mode is not None:
        return [str(one) for one in mode] if isinstance(mode, list) else [str(mode)]
    return [mode for key, mode in _MODES.items() if raw.get(key)]


def _notes(folder: Path, config: ModelConfig) -> Iterator[str]:
    """What changes the vectors of some texts and has no place in our config."""

    def settings(name: str) -> Mapping[str, Any]:
        return json_file.read(folder / name) if (folder / name).is_file() else {}

    length = settings(_SETTINGS).get("max_seq_length")
    if isinstance(length, int) and length < config.max_positions:
        yield f"{folder / _SETTINGS}: max_seq_length={length}, here texts are cut at {config.max_positions} tokens"
    if settings(_SETTINGS).get("do_lower_case"):
        yield f"{folder / _SETTINGS}: do_lower_case=True, here the tokenizer alone decides"
    prompt = settings(_MODEL).get("default_prompt_name")
    if prompt is not None:
        yield f"{folder / _MODEL}: default_prompt_name={prompt!r}, here no prompt is put before a text"
