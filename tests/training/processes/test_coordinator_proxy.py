"""The program between a process and the coordinator."""

import signal
import socket
import subprocess
import sys

import pytest

from bert_jax.training.processes import coordinator_proxy


@pytest.fixture
def proxied():
    """A proxy to a server: (its process, a connection through it, the server's side)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", coordinator_proxy.__file__, "127.0.0.1", port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process, socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as client:
            upstream, _ = server.accept()
            with upstream:
                yield process, client, upstream
            process.kill()


def test_the_proxy_forwards_both_ways_and_outlives_the_coordinator(proxied):
    process, client, upstream = proxied
    client.sendall(b"question")
    assert upstream.recv(100) == b"question"
    upstream.sendall(b"answer")
    assert client.recv(100) == b"answer"
    process.send_signal(signal.SIGTERM)  # as sent to a whole process group
    upstream.close()
    assert process.stdout.readline() == b"lost\n"
    client.sendall(b"more")  # dropped
    client.sendall(b"and more")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):  # open, and silent
        client.recv(1)
    process.stdin.close()
    assert process.wait(10) is not None


def test_the_proxy_reports_nothing_if_the_client_closes_first(proxied):
    process, client, upstream = proxied
    client.close()
    assert upstream.recv(1) == b""
    process.stdin.close()
    assert process.stdout.read() == b""
