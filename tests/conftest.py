"""Every test sees eight CPU devices and no accelerator. Programs that several tests compile alike are
compiled once: they share a cache that lives for the session. LLVM does not optimise them: the tests
spend far longer compiling than computing."""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"  # a name that is no directory could be a model of the hub
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Axes are added by hand: a mistaken shape must not broadcast into a result.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="bert_jax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"


def pytest_addoption(parser):
    parser.addoption("--skipped-to", metavar="FILE", help="append the file of every skipped test to FILE")


def _note_skip(config, report):
    file = config.getoption("--skipped-to")
    if file and report.skipped and not hasattr(config, "workerinput"):
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(report.nodeid.partition("::")[0] + "\n")


class _Skips:
    def __init__(self, config):
        self._config = config

    def pytest_runtest_logreport(self, report):
        _note_skip(self._config, report)

    def pytest_collectreport(self, report):
        _note_skip(self._config, report)


def pytest_configure(config):
    config.pluginmanager.register(_Skips(config))
