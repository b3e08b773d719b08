"""Models, in every form that is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from bert_jax.config.head import HeadConfig
from bert_jax.interop import native, stablehlo, tf1
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from bert_jax.models.parameters import flatten
from tests.hostile.format import Format, plain
from tests.interop import small


def _model(loaded: Any) -> Any:
    config, params, *_ = loaded
    return plain([repr(config), flatten(params)])


def _write_hf(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    save_hf(folder, small.params_of(config), config=config, tokenizer=small.TOKENIZER)


def _write_hf_head(folder: Path) -> None:
    """A classifier, and its weights as shards with an index."""
    config = dataclasses.replace(
        small.CONFIGS["bert"], head=HeadConfig(kind="classification", labels=("no", "yes"))
    )
    import jax
    from safetensors.numpy import load_file, save_file

    from bert_jax.models import bert

    params = bert.init_params(config, jax.random.key(0), heads=())
    save_hf(folder, params, config=config, tokenizer=small.TOKENIZER)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    half = len(names) // 2
    parts = {"model-1-of-2.safetensors": names[:half], "model-2-of-2.safetensors": names[half:]}
    for name, own in parts.items():
        save_file({key: tensors[key] for key in own}, folder / name)
    index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_sentences(folder: Path) -> None:
    config = dataclasses.replace(small.CONFIGS["bert"], head=HeadConfig(kind="embedding", pooling="mean"))
    params = {"bert": small.params_of(small.CONFIGS["bert"])["bert"]}
    save_hf(folder, params, config=config, tokenizer=small.TOKENIZER)


def _write_native(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    native.save_native(folder, small.params_of(config), config=config, tokenizer=small.TOKENIZER)


def _write_stablehlo(folder: Path) -> None:
    config = small.CONFIGS["bert"]
    stablehlo.save_stablehlo(folder, small.params_of(config), config=config, tokenizer=None)


def _read_stablehlo(folder: Path) -> Any:
    """Opened, not run: running it compiles it."""
    return stablehlo.load(folder) is not None


def _write_tf1(folder: Path) -> None:
    from tests.interop import test_tf1

    test_tf1.write(folder, test_tf1.variables(test_tf1.BERT, test_tf1.make(test_tf1.BERT)), test_tf1.BERT)


def formats() -> list[Format]:
    weights = "model.safetensors"
    return [
        Format("hf", _write_hf, lambda folder: _model(load_hf(folder)), ("config.json", weights)),
        Format("hf-shards", _write_hf_head, lambda folder: _model(load_hf(folder)), (
            "config.json", "model.safetensors.index.json", "model-1-of-2.safetensors",
        )),
        Format("sentence-transformers", _write_sentences, lambda folder: _model(load_hf(folder)), (
            "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json",
        )),
        Format("native", _write_native, lambda folder: _model(native.load_native(folder)), (native.CONFIG_FILE, weights)),
        Format("stablehlo", _write_stablehlo, _read_stablehlo, (
            stablehlo.DESCRIPTION_FILE, stablehlo.PROGRAM_FILE,
        ), checked=True),
        Format("tf1", _write_tf1, lambda folder: _model(tf1.load_tf1(folder)), (
            "bert_config.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001",
        )),
    ]  # fmt: skip
