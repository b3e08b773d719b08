"""The connection to process 0, where jax's coordination service runs."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from typing import Any

from bert_jax.errors import UserError
from bert_jax.training.processes import coordinator_proxy


def client() -> Any:
    """jax's client of the coordination service (keys, values and barriers). It has no public API."""
    from jax._src import distributed

    return distributed.global_state.client


def start_proxy(address: str) -> tuple[subprocess.Popen, str]:
    """Starts `coordinator_proxy` for the coordinator at `address`: (its process, the address it listens at)."""
    host, port = _split(address)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", coordinator_proxy.__file__, host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    return process, f"127.0.0.1:{int(process.stdout.readline())}"


def bypass_web_proxies(address: str) -> None:
    """Excludes the host of `address` from web proxies, which gRPC would use, and silences jax's warning of them."""
    host = _split(address)[0]
    if any(name.lower() in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy") for name in os.environ):
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))
    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)


def check_port_is_free(address: str) -> None:
    """Raises UserError if process 0 cannot listen on the port of `address`."""
    port = _split(address)[1]
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise UserError(f"process 0 cannot listen on port {port} of {address}: {error.strerror}") from None


def wait_until_reachable(address: str, wait: float) -> None:
    """Returns once process 0 listens at `address`. Refused connections and unknown host names are retried.

    Raises:
      UserError: it does not listen within `wait` seconds.
    """
    end = time.monotonic() + wait
    while True:
        try:
            with socket.create_connection(_split(address), timeout=min(10.0, wait)):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"process 0 is not reachable at {address} within {wait:g} s ({error.strerror or error}): start"
                    " it there, and open its port to this machine"
                ) from None
            time.sleep(0.5)


def _split(address: str) -> tuple[str, int]:
    """HOST:PORT -> (host, port); an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
