"""Tells an error that another process caused from an error of this process."""

from __future__ import annotations

import re

_STATUS = re.compile(r"([A-Z]+(?:_[A-Z]+)*): ")
"""how the text of a runtime error begins: the name of its absl status code"""

_CODES = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"))
"""codes that jax's runtime gives for a process it cannot reach, waited for in vain, or that restarted"""

_COLLECTIVES = re.compile(
    # Between CPUs. Every failure of Gloo is one of a connection.
    r"Gloo [\w -]+ failed|connectFullMesh"
    # Between GPUs. Its other errors (CUDA, invalid arguments) are of this process.
    r"|NCCL [^\n]*(remote process exited or there was a network error|unhandled system error)"
)
"""what a collective says of a lost connection, under codes such as UNKNOWN or INTERNAL"""

_CONNECTIONS = re.compile(
    # The coordination service, of a barrier that a dead process cannot reach.
    r"heartbeat timeout|Barrier failed because: task is set to ERROR"
    # Sockets, below the service and the collectives.
    r"|Connection (reset|closed) by( remote)? peer|Connection refused|Socket closed|Broken pipe"
)
"""what the rest of the runtime says of a lost connection under such codes"""


def failure_of_another(error: BaseException) -> str:
    """The first line of what jax's runtime reports of another process; empty if `error` has another cause.

    Follows `raise ... from`, since orbax and our own code wrap what the runtime raises. Only exceptions of the
    runtime count: an OSError or UserError never does, whatever its text.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).strip()
        if _is_of_another(cause, text):
            return text.splitlines()[0][:160]
        cause = cause.__cause__
    return ""


def _is_of_another(error: BaseException, text: str) -> bool:
    """Whether `error` itself, with this text, is one of jax's runtime about another process."""
    from jax.errors import JaxRuntimeError

    code = _STATUS.match(text)
    if code is None:
        return False
    if isinstance(error, JaxRuntimeError):
        return code[1] in _CODES or bool(_COLLECTIVES.search(text) or _CONNECTIONS.search(text))
    # A collective that fails after its dispatch is a ValueError with the runtime's text. tensorstore raises
    # ValueError with the same codes, and of connections too, for a file store that does not answer.
    return isinstance(error, ValueError) and bool(_COLLECTIVES.search(text))
