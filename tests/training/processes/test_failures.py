"""What the runtime reports of another process, against the errors of this one.

The samples of CPUs and of the coordination service are what jax 0.10.2 raised when one of two processes was killed
or stopped. Those of NCCL and of the lost service are as users reported them (jax-ml/jax issues 17399 and 19307,
and jax's own page on fault tolerance).
"""

import pytest
from jax.errors import JaxRuntimeError

from bert_jax.errors import CheckpointMismatch, UserError
from bert_jax.training.processes.failures import failure_of_another

ANOTHER = {
    "collective": ValueError(
        "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
        " [127.0.0.1]:23454"
    ),
    "collective of orbax": JaxRuntimeError(
        "UNKNOWN: Gloo AllGather failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
        " [127.0.0.1]:58760"
    ),
    "first collective": JaxRuntimeError(
        "UNKNOWN: Gloo context initialization failed: DEADLINE_EXCEEDED: GetKeyValue() timed out with key:"
        " cpu:gloo/0,2048/1 and duration: 29.99999996s"
    ),
    "first collective, refused": JaxRuntimeError(
        "UNKNOWN: Gloo context initialization failed: [external/gloo/gloo/transport/tcp/pair.cc:144] Gloo"
        " connectFullMesh failed with connect: Connection reset by peer"
    ),
    "barrier": JaxRuntimeError(
        "DEADLINE_EXCEEDED: Barrier timed out. Id: y::0. This usually happens because a task triggered the barrier"
        " too early or too slowly.\n# of tasks that reached the barrier: 1/2.\n1\n\n"
        "RPC: /xla.coordination.CoordinationService/Barrier"
    ),
    "barrier, no heartbeat": JaxRuntimeError(
        "INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat timeout. This"
        " indicates that the remote task has failed, got preempted, or crashed unexpectedly."
    ),
    "key": JaxRuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out with key: z and duration: 3s"),
    "service": JaxRuntimeError(
        "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted/died"
        " or this task is experiencing network issues.\n:UNKNOWN:Error received from peer"
    ),
    "service, restarted": JaxRuntimeError(
        "ABORTED: /job:jax_worker/replica:0/task:1 unexpectedly tried to connect with a different incarnation. It has"
        " likely restarted."
    ),
    "NCCL": JaxRuntimeError(
        "INTERNAL: external/xla/xla/service/gpu/nccl_utils.cc:216: NCCL operation async_err failed: remote process"
        " exited or there was a network error"
    ),
    "NCCL, connecting": JaxRuntimeError(
        "INTERNAL: external/xla/xla/service/gpu/nccl_utils.cc:305: NCCL operation ncclCommInitRank(&comm, nranks, id,"
        " rank) failed: unhandled system error (run with NCCL_DEBUG=INFO for details)"
    ),
}
OWN = {
    "memory": JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4194304 bytes."),
    "CUDA": JaxRuntimeError("INTERNAL: NCCL operation ncclGroupEnd() failed: unhandled cuda error"),
    "argument": JaxRuntimeError("INVALID_ARGUMENT: Argument does not match host shape or layout"),
    "value": ValueError("the barrier of connection UNAVAILABLE: socket"),
    "runtime": RuntimeError("DEADLINE_EXCEEDED: raised by something else than jax's runtime"),
    "file store": ValueError(
        'UNAVAILABLE: Error writing "gs://bucket/checkpoint": CURL error: Connection refused'
        " [source locations='tensorstore/kvstore/gcs_http/gcs_key_value_store.cc:712']"
    ),
    "file store, unnamed": ValueError(
        "ABORTED: All 1 retry attempts failed: CURL error Could not connect to server: Failed to connect to 127.0.0.1"
        " port 9 after 0 ms: Could not connect to server [curl_code='7']"
    ),
    "key": KeyError("UNAVAILABLE: params"),
    "user": UserError("UNAVAILABLE: the socket set of the corpus is broken: Connection reset by peer"),
    "mismatch": CheckpointMismatch("ABORTED: checkpoint 3 holds other arrays"),
    "network": ConnectionResetError(104, "Connection reset by peer"),
    "timeout": TimeoutError("DEADLINE_EXCEEDED: Overall save timeout exceeded."),
    "disk": OSError(28, "No space left on device"),
    "interrupt": KeyboardInterrupt(),
}


@pytest.mark.parametrize("error", ANOTHER.values(), ids=ANOTHER)
def test_a_lost_process_is_recognised(error):
    assert failure_of_another(error) == str(error).splitlines()[0][:160]


@pytest.mark.parametrize("error", OWN.values(), ids=OWN)
def test_an_error_of_this_process_is_not(error):
    assert failure_of_another(error) == ""


def caused_by(error):
    outer = UserError("checkpoint 3 could not be written")
    outer.__cause__ = TimeoutError("waited for the save")
    outer.__cause__.__cause__ = error
    return outer


def test_the_cause_of_an_error_decides():
    assert failure_of_another(caused_by(ANOTHER["barrier"])).startswith(
        "DEADLINE_EXCEEDED: Barrier timed out"
    )
    assert failure_of_another(caused_by(OWN["memory"])) == ""
