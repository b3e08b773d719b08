"""Forwards one process's connections to the coordinator, and reports when the coordinator closes them.

Process 0 hosts jax's coordination service. When it dies, jax's client in every other process aborts that process
with a stack trace. So the client connects to this proxy, a small program on the same machine, which keeps the
client's side of the connection open and reports the loss on its standard output.

    python coordinator_proxy.py HOST PORT     prints the port it listens at; then "lost", if the coordinator
                                              closes a connection first

It is a separate program because a thread would need the interpreter's lock, which the caller of the client may
hold. It ends when its standard input is closed, hence with the process that started it. It imports nothing but
the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until `reader` is at its end. Data that `writer` no longer accepts is dropped."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            with contextlib.suppress(OSError):
                if not writer.is_closing():
                    writer.write(data)
                    await writer.drain()


async def _serve(host: str, port: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()  # the client retries
            return
        client = asyncio.ensure_future(_copy(reader, upstream_writer))
        coordinator = asyncio.ensure_future(_copy(upstream_reader, writer))
        await asyncio.wait((client, coordinator), return_when=asyncio.FIRST_COMPLETED)
        if not client.done():
            print("lost", flush=True)
            await client
        coordinator.cancel()
        upstream_writer.close()
        writer.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # the owner ended; open connections do not matter any more


if __name__ == "__main__":
    # These signals may be sent to the whole process group. The owner decides when this program ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
