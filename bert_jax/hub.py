"""Models of the Hugging Face hub: an id such as `google-bert/bert-base-uncased` stands for a folder of its cache.

The download, the cache ($HF_HOME, $HF_HUB_CACHE), offline mode (HF_HUB_OFFLINE=1) and the token are those of
`huggingface_hub`, so what transformers has downloaded is found. Without a network the cache is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from bert_jax import progress
from bert_jax.errors import UserError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Of the repository's top folder: other folders repeat the weights for other programs (onnx/, openvino/).
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
_MODEL = (
    *_TOKENIZER, "config.json", "bert_jax.json", _WEIGHTS, _INDEX, "model-*-of-*.safetensors",
    "modules.json", "sentence_bert_config.json", "1_Pooling/config.json",
)  # fmt: skip
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_][\w.-]*(?:/[\w.-]+)?)(?:@(?P<revision>\S+))?", re.ASCII)
_DELAY = 1.0  # seconds before a bar is shown
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class ModelId:
    """A model of the hub."""

    name: str
    """`org/name`, or `name` for the oldest models"""
    revision: str = ""
    """the branch, tag or commit that was asked for; "": the main branch"""
    commit: str = ""
    """the hash of the commit that was found there; "": not looked up yet"""

    def __str__(self) -> str:
        version = self.commit or self.revision
        return f"{self.name}@{version}" if version else self.name

    def names(self, other: ModelId) -> bool:
        """Whether who asks for this may mean `other`, whose commit is known: a branch may have moved since."""
        return self.name == other.name and self.revision in (other.revision, other.commit)


Source = Path | ModelId
"""Where a model is."""


def parse(text: str | Path) -> Source:
    """The model id in `text`, or else a path: `text` names a file or folder here, or cannot be an id.

    An id is `name`, `org/name`, and either with `@revision`. What begins with ".", "/" or "~" is a path.
    """
    path = Path(text)
    found = _NAME.fullmatch(str(text))
    if found is None or path.exists():
        return path
    return ModelId(found["name"], found["revision"] or "")


def resolve(model: str | Source, *, tokenizer_only: bool = False) -> Path:
    """The folder of a model: a path as it is, an id's files from the hub or from its cache.

    tokenizer_only: leave the weights where they are.

    Raises:
      UserError: no such model or revision, no access, no network and nothing in the cache, or no safetensors.
    """
    source = model if isinstance(model, ModelId) else parse(model)
    if isinstance(source, Path):
        return source
    needed = _TOKENIZER if tokenizer_only else (_WEIGHTS, _INDEX)
    if _COMMIT.fullmatch(source.commit or source.revision):  # never changes: the hub need not be asked
        folder = cached(source, tokenizer_only=tokenizer_only)
        if folder is not None and _has_any(folder, needed):
            return folder
    folder = _snapshot(source, tokenizer_only=tokenizer_only)
    if not tokenizer_only and not _has_any(folder, needed):
        raise UserError(
            f"{source}: no {_WEIGHTS} among its files, and a pickle (pytorch_model.bin) is not read: name a revision"
            f" that has it ({source.name}@REVISION), or convert the model and give its directory"
        )
    return folder


def cached(model: str | Source, *, tokenizer_only: bool = False) -> Path | None:
    """As `resolve`, without a look at the network; None: the cache does not have the model."""
    source = model if isinstance(model, ModelId) else parse(model)
    if isinstance(source, Path):
        return source
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return _download(source, tokenizer_only=tokenizer_only, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _has_any(folder: Path, names: Collection[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def pinned(source: Source) -> Source:
    """The source with the commit that the cache has for it, so that it stays the same when its branch moves."""
    if isinstance(source, Path) or source.commit:
        return source
    folder = cached(source)
    return source if folder is None else dataclasses.replace(source, commit=folder.name)


def _snapshot(source: ModelId, *, tokenizer_only: bool) -> Path:
    from huggingface_hub import constants, errors

    neither = f"no such directory: {source}; and"
    try:
        return _download(source, tokenizer_only=tokenizer_only)
    except errors.HFValidationError:
        raise UserError(
            f"{neither} no model of the Hugging Face hub can have that name: correct it"
        ) from None
    except errors.GatedRepoError as error:
        raise UserError(
            f"{source}: the Hugging Face hub gives this model to its authorised users alone: ask for access at"
            f" {constants.ENDPOINT}/{source.name}, then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{neither} the Hugging Face hub has no model of that name that you may read: correct the path or the"
            " name; for a private model run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{source}: {source.name} has no revision {source.revision!r}: name a branch, a tag or a commit that it has"
        ) from error
    except errors.IncompleteSnapshotError as error:
        raise UserError(
            f"{source}: its files in {error.snapshot_path} are incomplete, and {_unreachable(error)}: run this again"
            " with a network, which completes them"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{neither} the cache of the Hugging Face hub ({constants.HF_HUB_CACHE}) has no model of that name, while"
            f" {_unreachable(error)}: correct the path, or run this once with a network"
        ) from error
    except errors.HTTPError as error:  # the hub fails, or the network does while files are on their way
        raise UserError(
            f"{source}: cannot be downloaded from {constants.ENDPOINT}: {_reason(error)}; run this again, which goes on"
            " from there"
        ) from error


def _download(source: ModelId, *, tokenizer_only: bool, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    with _without_warnings():
        folder = snapshot_download(
            source.name,
            revision=source.commit or source.revision or None,
            # config.json tells the class of a tokenizer that does not say it.
            allow_patterns=[*_TOKENIZER, "config.json"] if tokenizer_only else list(_MODEL),
            local_files_only=local_files_only,
            tqdm_class=_Bar,
        )
    return Path(folder)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """The library warns at each of its attempts; what failed in the end is an error of one line. -v shows them."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    if logging.getLogger("bert_jax").getEffectiveLevel() > logging.DEBUG:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class _Bar(tqdm):
    """The hub's progress bars as ours; none for a model that the cache has."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **{**options, "delay": _DELAY, **progress.settings()})

    def refresh(self, *args: Any, **options: Any) -> None:
        """Does nothing: the library asks for it at each file, whatever the delay and the interval."""


def _unreachable(error: Exception) -> str:
    """Why the hub was not asked."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "the environment variable HF_HUB_OFFLINE forbids a download"
    return f"{constants.ENDPOINT} cannot be reached ({_reason(error.__cause__ or error)})"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
