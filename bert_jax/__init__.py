"""bert_jax: pretraining BERT-family encoders in JAX.

    import bert_jax
    model = bert_jax.load("runs/quickstart")

Importing the package imports neither jax nor tensorflow; the first use of `load` does.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "Model"):
        from bert_jax import api

        return getattr(api, name)
    raise AttributeError(f"module 'bert_jax' has no attribute {name!r}; it has: {', '.join(__all__)}")
