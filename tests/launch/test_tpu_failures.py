"""launch/tpu_pod.sh when a call of gcloud fails, hangs or finds a slice that was preempted.

Every time: its exit status, the step that it names, that its last line is true of what may be billed, and that the same
command goes on.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.launch.tpu_cloud import Cloud, wait_for

# What each command does: the calls of gcloud, and the step that is named if that call fails.
LOOK, NODE = "queued-resources list", "tpu-vm list"
POLL = "waiting until t-queued is ACTIVE"
STEPS = {
    "create": [
        (LOOK, "asking for the state of t-queued"),
        ("queued-resources create", "requesting t-queued"),
        (LOOK, POLL),
        (LOOK, POLL),
        (LOOK, POLL),
        (NODE, POLL),
    ],
    "run": [
        ("tpu-vm scp", "copying it to the workers"),
        ("tpu-vm ssh", "installing it on the workers"),
        ("tpu-vm ssh", "starting the command on the workers"),
    ],
    "logs": [("tpu-vm ssh", "following the output of worker 0")],
    "stop": [("tpu-vm ssh", "stopping the command on the workers")],
    "collect": [
        ("tpu-vm ssh", "packing the files of W on worker 0"),
        ("tpu-vm scp", "copying them here"),
    ],
    "delete": [("queued-resources delete", "deleting t-queued")],
}
EACH = [(verb, number) for verb, steps in STEPS.items() for number in range(1, len(steps) + 1)]
DELETE = "launch/tpu_pod.sh delete --name t --queued t-queued --zone us-central1-a"


@pytest.fixture
def cloud(tmp_path) -> Cloud:
    """With an active slice and the workdir W of a run."""
    cloud = Cloud(tmp_path)
    workdir = cloud.workers[0] / "W"
    workdir.mkdir()
    (workdir / "metrics.jsonl").touch()
    cloud.has("ACTIVE", node="READY")
    cloud.works()
    return cloud


def words(verb: str, cloud: Cloud) -> tuple[str | Path, ...]:
    """The arguments of `verb`; the slice that `create` requests is not there yet."""
    match verb:
        case "create":
            cloud.has()
        case "run":
            return ("--storage", "gs://b", "--", "end")
        case "collect":
            return ("--workdir", "W", "--out", cloud.folder / "out")
    return ()


def assert_told(cloud: Cloud, stderr: str) -> None:
    """The last line is true of what is in the cloud."""
    last = stderr.splitlines()[-1]
    match cloud.states():
        case []:
            assert last.startswith(
                "tpu_pod.sh: there is no t-queued in us-central1-a, nothing is billed there"
            )
        case ["ACTIVE", "READY"]:
            assert last == f"tpu_pod.sh: t is active, and billed until: {DELETE}"
        case [state]:
            assert f"t-queued is {state}: it can become active, and billed" in last and last.endswith(DELETE)
        case states:
            raise AssertionError(states)


@pytest.mark.parametrize("verb", [verb for verb in STEPS if verb != "logs"])
def test_undisturbed_these_calls_are_made_and_the_bill_is_told(cloud, verb):
    done = cloud.call(verb, *words(verb, cloud))
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == [call for call, _ in STEPS[verb]]
    assert_told(cloud, done.stderr)


@pytest.mark.parametrize(("verb", "number"), EACH)
def test_a_call_that_fails_is_told_and_the_same_command_goes_on(cloud, verb, number):
    given = words(verb, cloud)
    cloud.fail("before", number)
    done = cloud.call(verb, *given, GCLOUD_STATUS="2")  # of gcloud; that of tpu_pod.sh would mean wrong usage
    call, step = STEPS[verb][number - 1]
    assert cloud.calls()[number - 1] == call
    assert_told(cloud, done.stderr)
    if step == POLL:  # one of many that may fail
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert f"tpu_pod.sh: {verb} ended with 1 while {step}; " in done.stderr
    cloud.works()
    if verb != "logs":  # which would not end
        again = cloud.call(verb, *given)
        assert again.returncode == 0, again.stderr
        assert_told(cloud, again.stderr)


@pytest.mark.parametrize(("verb", "number"), [("create", 2), ("run", 3), ("delete", 1)])
def test_a_call_that_had_its_effect_before_it_failed(cloud, verb, number):
    given = words(verb, cloud)
    cloud.fail("after", number)
    done = cloud.call(verb, *given)
    assert_told(cloud, done.stderr)
    if verb == "create":  # the request is in the queue
        assert done.returncode == 0 and cloud.calls().count("queued-resources create") == 1
    if verb == "run":
        assert done.returncode == 1
        assert "it may run on some of them: launch/tpu_pod.sh stop, then the same command" in done.stderr
        assert cloud.call("stop").returncode == 0
        assert cloud.call("run", *given).returncode == 0
    if verb == "delete":
        assert done.returncode == 1 and cloud.states() == []


@pytest.mark.parametrize(("verb", "number"), [("create", 1), ("create", 3), ("run", 1), ("delete", 1)])
def test_without_a_connection_the_bill_is_told_to_be_unknown(cloud, verb, number):
    """From call `number` on, as a lost login; waiting ends after five polls."""
    given = words(verb, cloud)
    cloud.fail("down", number)
    done = cloud.call(verb, *given)
    assert done.returncode == 1
    assert done.stderr.endswith(f"tpu_pod.sh: t-queued may wait or be active, and billed, until: {DELETE}\n")
    polls = 4 if number == 3 else 0
    assert len(cloud.calls()) == number + polls + 1  # the last is that of the state


@pytest.mark.parametrize(
    ("verb", "number", "number_of_signal"),
    [("create", 2, signal.SIGINT), ("create", 4, signal.SIGINT), ("create", 4, signal.SIGTERM)]
    + [(verb, 1, signal.SIGINT) for verb in ("run", "logs", "delete")],
)
def test_a_call_that_hangs_is_interrupted(cloud, verb, number, number_of_signal):
    given = words(verb, cloud)
    cloud.fail("hang", number)
    with cloud.start(verb, *given) as process:
        wait_for((cloud.folder / "hangs").exists)
        os.killpg(process.pid, number_of_signal)  # as a terminal does
        _, err = process.communicate(timeout=60)
    status = 128 + number_of_signal
    assert process.returncode == status
    assert f"tpu_pod.sh: {verb} ended with {status} while {STEPS[verb][number - 1][1]}; " in err
    assert err.endswith(f"tpu_pod.sh: t-queued may wait or be active, and billed, until: {DELETE}\n")
    assert (
        len(cloud.calls()) <= number + 1
    )  # gcloud may end, and be called again, before the signal arrives here


def test_create_waits_for_the_slice_that_another_requested_meanwhile(cloud):
    cloud.has()
    cloud.fail("raced", 2)
    done = cloud.call("create")
    assert done.returncode == 0 and "ALREADY_EXISTS" in done.stderr
    assert cloud.calls().count("queued-resources create") == 1
    assert_told(cloud, done.stderr)


def test_what_was_packed_is_removed(cloud):
    folder = cloud.folder.parent
    before = sorted(folder.iterdir())
    for number in (1, 0):
        cloud.fail("before", number)
        cloud.run("end")
        assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("states", "node"),
    [
        (["SUSPENDED"], None),
        (["SUSPENDING"], "PREEMPTED"),
        (["FAILED"], None),
        (["ACTIVE"], "PREEMPTED"),
        (["ACTIVE"], "TERMINATED"),
        (["ACTIVE"], None),
        (["DELETING", "DELETING", "GONE"], "DELETING"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_create_replaces_a_slice_that_is_lost(cloud, states, node):
    cloud.has(*states, node=node)
    done = cloud.call("create")
    assert done.returncode == 0, done.stderr
    assert cloud.states() == ["ACTIVE", "READY"]
    assert ("queued-resources delete" in cloud.calls()) == (states[0] != "DELETING")
    assert cloud.calls().count("queued-resources create") == 1
    assert_told(cloud, done.stderr)


@pytest.mark.parametrize("number", [3, 4])
def test_a_replacement_that_fails_halfway_goes_on(cloud, number):
    """The calls: two of the state, delete, the state again, create."""
    for how in ("before", "after"):
        cloud.has("ACTIVE", node="PREEMPTED")
        cloud.fail(how, number)
        cloud.call("create")
        cloud.works()
        done = cloud.call("create")
        assert done.returncode == 0 and cloud.states() == ["ACTIVE", "READY"], done.stderr


def test_create_waits_for_a_request_and_leaves_an_active_slice(cloud):
    for states in (["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"], ["ACTIVE"]):
        cloud.works()
        cloud.has(*states, node="READY" if states == ["ACTIVE"] else None)
        done = cloud.call("create")
        assert done.returncode == 0 and done.stdout.endswith("t-queued: ACTIVE\n")
        assert set(cloud.calls()) == {LOOK, NODE}


@pytest.mark.parametrize(
    ("states", "last"),
    [
        (["PROVISIONING", "FAILED"], "t-queued is FAILED, and not billed: `create` requests another slice"),
        (["WAITING_FOR_RESOURCES", "SUSPENDED"], "t-queued is SUSPENDED, and not billed: `create` requests"),
        (["ACCEPTED", "GONE"], "there is no t-queued in us-central1-a"),
    ],
)
def test_a_request_that_ends_while_it_waits(cloud, states, last):
    cloud.has(*states)
    done = cloud.call("create")
    assert done.returncode == 1
    assert f"create ended with 1 while {POLL}; the same command goes on" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"tpu_pod.sh: {last}")


def test_run_on_a_preempted_slice_says_to_create_it_again(cloud):
    for states, node, state in ((["SUSPENDED"], None, "SUSPENDED"), (["ACTIVE"], "PREEMPTED", "LOST")):
        cloud.has(*states, node=node)
        done = cloud.run("end")
        assert done.returncode == 1
        assert done.stderr.endswith(
            f"tpu_pod.sh: t-queued is {state}, and not billed: `create` requests another slice, "
            "then the same `run` resumes\n"
        )
    assert cloud.call("create").returncode == 0
    assert cloud.run("end").returncode == 0


def test_the_last_line_repeats_where_the_slice_is(cloud):
    done = cloud.call(
        "run", "--storage", "gs://b", "--project", "p", "--zone", "us-east5-b", "--queued", "q", "--", "end"
    )
    assert done.stderr.endswith(
        "launch/tpu_pod.sh delete --name t --queued q --zone us-east5-b --project p\n"
    )


def test_one_worker_that_fails_fails_the_run(cloud):
    (cloud.workers[1] / "bert_jax").touch()  # so that nothing can be unpacked there
    done = cloud.run("end")
    assert done.returncode == 1 and "while installing it on the workers" in done.stderr
    assert cloud.log(0) == ""
