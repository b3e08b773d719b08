"""Tells an error that another process caused from an error of this process."""

from __future__ import annotations

import re

_STATUS = re.compile(r"([A-Z]+(?:_[A-Z]+)*): ")
"""how the text of a runtime error of jax begins: the name of its absl status code"""

_CODES = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"))
"""codes that jax's runtime gives for a process it cannot reach, waited for in vain, or that restarted"""

_TEXTS = re.compile(
    # The coordination service, of a barrier that a dead process cannot reach.
    r"heartbeat timeout|Barrier failed because: task is set to ERROR"
    # Gloo, between CPUs: every failure of it is one of a connection.
    r"|Gloo [\w -]+ failed|connectFullMesh"
    # NCCL, between GPUs. Its other errors (CUDA, invalid arguments) are of this process.
    r"|NCCL [^\n]*(remote process exited or there was a network error|unhandled system error)"
    # Sockets, below any of them.
    r"|Connection (reset|closed) by( remote)? peer|Connection refused|Socket closed|Broken pipe"
)
"""what the runtime says of a lost connection under other codes, such as UNKNOWN or INTERNAL"""


def failure_of_another(error: BaseException) -> str:
    """The first line of what jax's runtime reports of another process; empty if `error` has another cause.

    Follows `raise ... from`, since orbax and our own code wrap what the runtime raises. Only exceptions of the
    runtime count: an OSError or UserError never does, whatever its text.
    """
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).strip()
        if (code := _status_code(cause, text)) and (code in _CODES or _TEXTS.search(text)):
            return text.splitlines()[0][:160]
        cause = cause.__cause__
    return ""


def _status_code(error: BaseException, text: str) -> str:
    """The status code of an exception of jax's runtime; empty for any other exception.

    The runtime raises JaxRuntimeError; a computation that fails after its dispatch, ValueError with the same text.
    tensorstore raises ValueError too, with the same codes, for a file store that does not answer.
    """
    from jax.errors import JaxRuntimeError

    match = _STATUS.match(text)
    is_runtime_error = isinstance(error, JaxRuntimeError | ValueError) and "tensorstore" not in text
    return match[1] if match and is_runtime_error else ""
