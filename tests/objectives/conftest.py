"""Here types are promoted by hand alone; the whole suite cannot ask that, for optax does not obey it."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield
