"""Carries the connections of one process to the coordinator, and tells when the coordinator is gone.

Process 0 is the host of jax's coordination service. When it dies, jax's client in every other process aborts that
process with a stack trace. So the client speaks to this relay, a small program on the same machine that keeps
its side of the connection open and says on its standard output what happened.

    python relay.py HOST PORT     prints the port it listens at; then "lost", if the coordinator hangs up first

A program of its own, for a thread would need the interpreter's lock, which a caller of the client may hold. It
ends when its standard input does: with the process that started it. It imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's side hangs up. What the other side does not take any more is dropped."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            with contextlib.suppress(OSError):
                if not writer.is_closing():
                    writer.write(data)
                    await writer.drain()


async def _serve(host: str, port: int) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()  # the client tries again
            return
        client = asyncio.ensure_future(_copy(reader, up_writer))
        coordinator = asyncio.ensure_future(_copy(up_reader, writer))
        await asyncio.wait((client, coordinator), return_when=asyncio.FIRST_COMPLETED)
        if not client.done():
            print("lost", flush=True)
            await client
        coordinator.cancel()
        up_writer.close()
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # with its owner, whatever is still connected


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to a whole group: the owner decides
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
