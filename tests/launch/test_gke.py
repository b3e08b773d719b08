"""launch/gke.yaml against the schemas of Kubernetes and JobSet, and its command as the pods run it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_jax.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "launch" / "gke.yaml"


@pytest.fixture(scope="module")
def manifests():
    yaml = pytest.importorskip("yaml")
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def job(manifests):
    """The Job that JobSet creates."""
    (replicated,) = manifests["JobSet"]["spec"]["replicatedJobs"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bert-workers-0"},
        **replicated["template"],
    }


# The fields of jobset.x-k8s.io/v1alpha2 that gke.yaml uses.
_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}


def _closed(required, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }


_COORDINATOR = _closed(
    ["replicatedJob"], replicatedJob=_NAME, jobIndex={"type": "integer"}, podIndex={"type": "integer"}
)
_RULE = _closed(
    ["action"],
    name=_NAME | {"maxLength": 128, "pattern": "^[A-Za-z]([A-Za-z0-9_,:-]*[A-Za-z0-9_])?$"},
    action={"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
    onJobFailureReasons={
        "type": "array",
        "items": {"enum": ["BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded",
                           "PodFailurePolicy"]},
    },
)  # fmt: skip
_JOBSET = _closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=_closed(["name"], name=_NAME, annotations={"additionalProperties": {"type": "string"}}),
    spec=_closed(
        ["replicatedJobs"],
        network=_closed([], enableDNSHostnames={"type": "boolean"}),
        coordinator=_COORDINATOR,
        failurePolicy=_closed(
            [], maxRestarts={"type": "integer", "minimum": 0}, rules={"type": "array", "items": _RULE}
        ),
        replicatedJobs={
            "type": "array",
            "items": _closed(
                ["name", "template"],
                name=_NAME,
                replicas={"type": "integer", "minimum": 0},
                template=_closed(["spec"], spec={"type": "object"}),
            ),
        },
    ),
)


def test_the_jobset_and_its_job_match_their_schemas(manifests, job):
    jsonschema = pytest.importorskip("jsonschema")
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    jsonschema.validate(manifests["JobSet"], _JOBSET)
    for document in (job, manifests["PersistentVolumeClaim"]):
        kubernetes_validate.validate(document, "1.34", strict=True)
    wrong = {**job, "spec": {**job["spec"], "paralelism": 4}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_every_host_is_a_process_of_one_run(manifests, job):
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in container["args"][1:])
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"] == int(flags["processes"])
    selector = spec["template"]["spec"]["nodeSelector"]
    side_a, side_b = map(int, selector["cloud.google.com/gke-tpu-topology"].split("x"))
    assert side_a * side_b == spec["parallelism"] * container["resources"]["limits"]["google.com/tpu"]

    assert flags["process-id"] == "$(JOB_COMPLETION_INDEX)"
    host, _, port = flags["coordinator"].partition(":")
    (source,) = [variable for variable in container["env"] if f"$({variable['name']})" == host]
    assert "jobset.sigs.k8s.io/coordinator" in source["valueFrom"]["fieldRef"]["fieldPath"]
    assert int(port) in [each["containerPort"] for each in container["ports"]]
    jobset = manifests["JobSet"]["spec"]
    assert jobset["coordinator"] == {"replicatedJob": "workers", "jobIndex": 0, "podIndex": 0}
    assert jobset["replicatedJobs"][0]["name"] == "workers"


def test_the_command_of_the_pods_parses(job):
    from bert_jax.__main__ import build_parser
    from bert_jax.commands import split_overrides

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "bert_jax"]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "3") for word in container["args"]]
    rest, overrides = split_overrides(words)
    args = build_parser("pretrain").parse_args(rest)
    assert (args.process_id, args.processes) == (3, 4)
    assert (ROOT / args.config).exists() and len(overrides) == 2
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(args.workdir).startswith(tuple(mounts))


def test_a_stop_is_not_a_failure_and_wrong_usage_is_final(manifests, job):
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 30 and pod["shareProcessNamespace"]
    assert pod["restartPolicy"] == "Never"  # or there may be no podFailurePolicy
    actions = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        for status in rule.get("onExitCodes", {}).get("values", []):
            assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
            actions[status] = rule["action"]
        for condition in rule.get("onPodConditions", []):
            actions[condition["type"]] = rule["action"]
    assert actions == {2: "FailJob", 143: "Ignore", "DisruptionTarget": "Ignore"}
    policy = manifests["JobSet"]["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_workdir_and_corpus_are_on_the_claimed_volume(manifests, job):
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (mount,) = pod["containers"][0]["volumeMounts"]
    claim = manifests["PersistentVolumeClaim"]
    assert volumes[mount["name"]]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def pod(job, index, host, /, **replaced):
    """The command of a pod as the kubelet starts it: $(NAME) is a variable of its container.

    `replaced` has the values that this test gives to flags of the manifest, by their last word.
    """
    (container,) = job["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.annotations['jobset.sigs.k8s.io/coordinator']": host}
    variables = {"JOB_COMPLETION_INDEX": str(index)}  # set by the controller of Jobs
    for each in container["env"]:
        source = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        variables[each["name"]] = each["value"] if source is None else fields[source]
    words = [
        f"{flag}={replaced.get(flag.rpartition('.')[2].removeprefix('--'), value)}" if equals else flag
        for flag, equals, value in (word.partition("=") for word in container["args"])
    ]
    expanded = [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], word) for word in words]
    return [sys.executable, *container["command"][1:], *expanded]


def start(command, index, log):
    """As pod `index`, with one device; `log` takes what it says. The cache of compiled programs is that of the tests."""
    variables = {"JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT), "JOB_COMPLETION_INDEX": str(index)}
    with log.open("a") as stream:
        return subprocess.Popen(command, env=os.environ | variables, stdout=stream, stderr=stream)


def verdict(job, status):
    """What the controller of Jobs does when a container ends with `status`."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if status in rule.get("onExitCodes", {}).get("values", []):
            return rule["action"]
    return "Complete" if status == 0 else "Count"


def test_a_pod_with_wrong_usage_ends_the_job_without_waiting_for_the_others(job, tmp_path):
    command = pod(job, 3, "no-such-host", workdir=tmp_path / "run")
    assert {"--coordinator=no-such-host:8476", "--processes=4", "--process-id=3"} <= set(command)
    assert not any("$" in word for word in command)
    log = tmp_path / "log"
    with start([*command, "--config.train.steps=none"], 3, log) as process:
        process.wait(timeout=60)
    assert verdict(job, process.returncode) == "FailJob", log.read_text()
    assert "config.train.steps" in log.read_text() and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pods_that_are_drained_save_and_their_replacements_resume(job, experiment, prepared, tmp_path):
    """Two pods, with the manifest's command but for the places and the number of processes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    places = {
        "config": experiment,
        "path": prepared.data.path,
        "directory": prepared.data.directory,
        "workdir": tmp_path / "run",
        "processes": 2,
        "coordinator": f"$(COORDINATOR):{port}",
    }
    changes = ("train.steps=100", "train.log_every=5", "train.eval_every=100", "checkpoint.every=10000")

    def steps():
        lines = read_metrics(tmp_path / "run/metrics.jsonl")
        return [line["step"] for line in lines if line["split"] == "train"]

    def said():
        return [(tmp_path / f"pod-{index}").read_text() for index in (0, 1)]

    for drained in (True, False):
        with contextlib.ExitStack() as stack:
            pods = []
            for index in (0, 1):
                command = pod(job, index, "127.0.0.1", **places)
                changed = [*command, *(f"--config.{change}" for change in changes)]
                pods.append(start(changed, index, tmp_path / f"pod-{index}"))
                stack.enter_context(pods[-1])
                stack.callback(pods[-1].kill)
            while drained and not steps():
                assert all(each.poll() is None for each in pods), said()
                time.sleep(0.1)
            if drained:
                pods[1].send_signal(signal.SIGTERM)
            statuses = [each.wait(timeout=600) for each in pods]
        assert {verdict(job, status) for status in statuses} == {"Ignore" if drained else "Complete"}, said()
        assert drained == (len(steps()) < 20)
    assert steps() == [*range(5, 101, 5)]
