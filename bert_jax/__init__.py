"""bert_jax: pretraining BERT-family encoders in JAX.

    import bert_jax
    config = bert_jax.load_config("experiments/quickstart.py")
    bert_jax.pretrain(config, "runs/quickstart")
    model = bert_jax.load("runs/quickstart")

Importing the package imports neither jax nor tensorflow; the first use of a name does.
"""

from typing import TYPE_CHECKING, Any

from bert_jax._version import __version__

if TYPE_CHECKING:
    from bert_jax.api import Model, average, finetune, load, pretrain
    from bert_jax.config import load as load_config

__all__ = ["Model", "__version__", "average", "finetune", "load", "load_config", "pretrain"]


def __getattr__(name: str) -> Any:
    if name in ("load", "Model", "average", "finetune", "pretrain"):
        from bert_jax import api

        return getattr(api, name)
    if name == "load_config":
        from bert_jax import config

        return config.load
    raise AttributeError(f"module 'bert_jax' has no attribute {name!r}; it has: {', '.join(__all__)}")
