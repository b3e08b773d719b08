"""Training with the kernels of attention, run by Pallas's interpreter."""

import dataclasses

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.errors import ConfigError
from bert_jax.models import fused_gpu, fused_tpu
from bert_jax.tasks.choose import task_of
from bert_jax.training import parallel
from bert_jax.training.trainer import Trainer

CONFIG = {
    "tokenizer": {"vocab_size": 64},
    "data": {"sequence_length": 128, "packing": 2},
    "model": {
        "preset": "bert-tiny", "hidden_size": 256, "num_heads": 8, "num_layers": 2, "mlp_size": 32,
        "dropout_rate": 0.1, "attention_dropout_rate": 0.1,
    },
    "train": {"batch_size": 8},
}  # fmt: skip


def with_backend(backend, **parallel_options):
    config = configs.resolve({**CONFIG, "parallel": parallel_options})
    return dataclasses.replace(config, model=dataclasses.replace(config.model, attention_backend=backend))


def trained(backend, **parallel_options):
    """Sums of the second step, and the parameters after it."""
    config = with_backend(backend, **parallel_options)
    trainer = Trainer.of(task_of(config), config)
    state, batch = trainer.new_state(), synthetic(config, 8)
    step = trainer.compile_train(trainer.task.phases[0], state, batch)
    for _ in range(2):
        state, sums = step(state, trainer.plan.place(batch))
    return jax.device_get((sums, state.params))


@pytest.mark.parametrize(("backend", "devices"), [("pallas", "TPUs"), ("triton", "GPUs"), ("cudnn", "GPUs")])
def test_a_kernel_for_other_devices_is_refused(backend, devices):
    config = with_backend(backend)
    with pytest.raises(
        ConfigError, match=f"attention_backend='{backend}' must be 'xla' on cpu: .* for {devices}"
    ):
        Trainer.of(task_of(config), config)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("pallas", fused_tpu), ("triton", fused_gpu)])
@pytest.mark.parametrize(
    "options", [{}, {"fsdp": 2, "tensor": 2}, {"mode": "pmap"}], ids=["data", "mesh", "pmap"]
)
def test_training_with_a_kernel_is_training_without_on_any_mesh(options, backend, module, monkeypatch):
    used = []

    def kernel(**options):
        used.append(options)
        return fused_kernel(interpret=True, **options)

    fused_kernel = module.Kernel
    monkeypatch.setattr(module, "Kernel", kernel)
    monkeypatch.setattr(parallel, "_check_attention", lambda config, devices: None)
    found, expected = trained(backend, **options), trained("xla")
    assert used
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-4), found, expected)
