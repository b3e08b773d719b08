"""launch/tpu_pod.sh: the commands of a dry run, and what the workers do with them. Failures: test_tpu_failures.py."""

import json
import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.launch.tpu_cloud import Cloud, wait_for

ROOT = Path(__file__).parents[2]
POD = ROOT / "launch" / "tpu_pod.sh"
GCLOUD = shutil.which("gcloud")  # before the tests hide it


def call(*words, **options):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture
def cloud(tmp_path):
    """With an active slice."""
    cloud = Cloud(tmp_path)
    cloud.has("ACTIVE", node="READY")
    return cloud


@pytest.fixture(autouse=True)
def no_cloud(tmp_path_factory, monkeypatch):
    """A test that fails never calls a gcloud that is installed here."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "gcloud").write_text("#!/bin/sh\necho a test called gcloud >&2\nexit 99\n")
    (folder / "gcloud").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def dry(verb, *words, environment=()):
    """The commands that a dry run prints, each split into words by bash."""
    clean = {"PATH": os.environ["PATH"], **dict(environment)}
    done = call("bash", POD, verb, "--dry-run", *words, env=clean)
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    return [call("bash", "-c", rf"printf '%s\0' {line}").stdout.split("\0")[:-1] for line in commands]


def test_create_requests_a_spot_slice():
    ask, look = dry(
        "create", "--name", "my-tpu", "--project", "p", "--zone", "us-east5-b", "--type", "v6e-16"
    )
    assert ask == [
        "gcloud", "compute", "tpus", "queued-resources", "create", "my-tpu-queued", "--node-id=my-tpu",
        "--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e", "--spot", "--zone=us-east5-b",
        "--project=p",
    ]  # fmt: skip
    assert look[3:7] == [
        "queued-resources",
        "list",
        "--filter=name~/my-tpu-queued$",
        "--format=value(state.state)",
    ]


@pytest.mark.parametrize(
    ("type", "version"),
    [("v5litepod-16", "v2-alpha-tpuv5-lite"), ("v5p-8", "v2-alpha-tpuv5"), ("v4-8", "tpu-ubuntu2204-base")],
)
def test_options_default_to_the_environment_and_the_version_to_that_of_the_type(type, version):
    ask = dry(
        "create", "--on-demand", environment={"TPU_NAME": "a", "TPU_TYPE": type, "TPU_ZONE": "eu-x4-b"}
    )[0]
    assert {"--node-id=a", f"--runtime-version={version}", "--zone=eu-x4-b"} <= set(ask)
    assert "--spot" not in ask and not any(word.startswith("--project") for word in ask)


def test_run_packs_copies_installs_and_starts():
    words = ["pretrain", "--config.data.path=/mnt/shared/a b/*.txt", "--config", "it's.py"]
    pack, copy, install, start = dry("run", "--name", "t", "--storage", "gs://my-bucket", "--", *words)
    assert pack[:2] == ["bash", "-c"] and "git ls-files" in pack[2]
    assert copy[3:5] == ["tpu-vm", "scp"] and copy[6:8] == ["t:bert_jax.tar.gz", "--worker=all"]
    assert copy[5] == pack[-1]
    for command, texts in (
        (install, ("gcsfuse --implicit-dirs --rename-dir-limit 200000 my-bucket /mnt/shared", "install_package tpu")),
        (start, (r"command=(pretrain --config.data.path=/mnt/shared/a\ b/\*.txt --config it\'s.py)", "nohup bash")),
    ):  # fmt: skip
        assert command[3:7] == ["tpu-vm", "ssh", "t", "--worker=all"]
        script = command[7].removeprefix("--command=")
        assert call("bash", "-n", "-c", script).stderr == ""
        for text in texts:
            assert text in script
    nfs = dry("run", "--name", "t", "--storage", "10.0.0.2:/share", "--", "pretrain")[2][7]
    assert "sudo mount -t nfs 10.0.0.2:/share /mnt/shared" in nfs and "gcsfuse" not in nfs


def test_logs_collect_and_delete():
    (follow,) = dry("logs", "--name", "t", "--worker", "3")
    assert follow[3:9] == [
        "tpu-vm",
        "ssh",
        "t",
        "--worker=3",
        "--command=tail -n 100 -F bert_jax/run.log",
        follow[8],
    ]
    pack, make, copy, *_ = dry(
        "collect", "--name", "t", "--workdir", "/mnt/shared/my run", "--out", "here there"
    )
    assert make == ["mkdir", "-p", "here there"]
    assert r"cd /mnt/shared/my\ run" in pack[7] and all(
        f in pack[7] for f in ("metrics.jsonl", "tensorboard", "hf")
    )
    assert copy[3:7] == ["tpu-vm", "scp", "t:collected.tar.gz", "here there/collected.tar.gz"]
    (stop,) = dry("stop", "--name", "t")
    assert stop[3:7] == ["tpu-vm", "ssh", "t", "--worker=all"]
    assert call("bash", "-n", "-c", stop[7].removeprefix("--command=")).stderr == ""
    (delete,) = dry("delete", "--name", "t", "--queued", "q")
    assert delete[3:8] == ["queued-resources", "delete", "q", "--force", "--quiet"]


def test_gcloud_knows_these_commands_and_options(tmp_path):
    """By the parser with which gcloud checks the commands in its documentation, and runs none."""
    if not GCLOUD:
        pytest.skip("not installed: the Google Cloud CLI")
    verbs = (
        ("create",),
        ("run", "--storage", "gs://b", "--", "pretrain"),
        ("logs",),
        ("stop",),
        ("collect", "--workdir", "/mnt/shared/W"),
        ("delete",),
    )
    lines = [line for verb, *words in verbs for line in dry(verb, "--name", "t", *words)]
    lines = [line for line in lines if line[0] == "gcloud"]
    (look,) = [line for line in lines if "list" in line]
    lines += [[word.replace("queued-resources", "tpu-vm") for word in look], [*look, "--no-such-option"]]
    # It splits the scripts at # and blanks.
    words = [
        ["--command=script" if word.startswith("--command=") else word for word in line] for line in lines
    ]
    commands = sorted({shlex.join(line) for line in words})
    file = tmp_path / "commands.json"
    file.write_text(json.dumps([{"command_string": command} for command in commands]))
    done = call(
        *(GCLOUD, "meta", "lint-gcloud-commands", f"--commands-file={file}"),
        env=os.environ | {"CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
    )
    if done.returncode:
        pytest.skip(f"this version of gcloud cannot check commands: {done.stderr}")
    results = json.loads(done.stdout)
    wrong = [each["error_message"] for each in results if not each["success"]]
    assert len(results) == len(commands) and len(wrong) == 1 and "--no-such-option" in wrong[0], wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which of create, run, logs, stop, collect, delete?"),
        (["start"], "start is none of create, run, logs, stop, collect, delete"),
        (["create"], '--name "" must be'),
        (["create", "--name", "My TPU"], "--name My TPU must be"),
        (["create", "--name", "t", "--type", "h100-8"], "--type h100-8 must be one of v2-"),
        (["create", "--name", "t", "--zone", "mars"], "--zone mars must be a zone such as"),
        (["create", "--name", "t", "--what"], "--what is no option of it"),
        (["create", "--name"], "--name needs a value"),
        (["delete", "--name", "t", "--", "pretrain"], "delete takes no command: pretrain"),
        (["run", "--name", "t", "--", "pretrain"], "run needs --storage"),
        (["run", "--name", "t", "--storage", "gs://b"], "run needs a command after --"),
        (["run", "--name", "t", "--storage", "/disk", "--", "x"], "--storage /disk must be gs://BUCKET or HOST:/SHARE"),
        (["run", "--name", "t", "--restarts", "-1", "--", "x"], "--restarts -1 must be a whole number"),
        (["collect", "--name", "t"], "collect needs --workdir"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(words, message):
    done = call("bash", POD, *words, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"tpu_pod.sh: {message}") and done.stderr.count("\n") == 1


def test_every_worker_gets_the_checkout_and_restarts_a_command_that_failed(cloud, tmp_path):
    done = cloud.run("fail", "--config=a b.py")
    assert done.returncode == 0, done.stderr
    for number, worker in enumerate(cloud.workers):
        wait_for(lambda number=number: "exit status 0" in cloud.log(number))
        log = cloud.log(number)
        assert log.count("exit status 1") == 2 and "given: ['fail', '--config=a b.py']" in log
        assert (worker / "bert_jax/.venv/bin/activate").read_text() == "extra=tpu\n"
        assert not (worker / "bert_jax/corpus").exists()

    workdir = tmp_path / "my run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text("{}\n")
    done = cloud.call("collect", "--workdir", workdir, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.jsonl"]


def test_a_running_command_is_not_started_twice_and_stop_lets_it_save(cloud):
    assert cloud.run("wait").returncode == 0
    for number in (0, 1):
        wait_for(lambda number=number: "given" in cloud.log(number))
    (cloud.checkout / "bert_jax/new.py").touch()
    again = cloud.run("wait")
    assert again.returncode == 1 and "a command is running already" in again.stderr
    assert not any((worker / "bert_jax/new.py").exists() for worker in cloud.workers)
    stopped = cloud.call("stop")
    assert stopped.returncode == 0 and stopped.stdout.count("exit status 143") == 2
    assert all(cloud.log(number).count("given") == 1 for number in (0, 1))
    assert cloud.run("end").returncode == 0  # and one that has ended can be followed by another


def test_the_checkout_is_packed_as_it_is_now(cloud):
    """A file that git tracks may be deleted; a folder without git has no files to pack, which is a failure."""
    (cloud.checkout / "gone.py").touch()
    subprocess.run(["git", "-C", cloud.checkout, "add", "gone.py"], check=True)
    (cloud.checkout / "gone.py").unlink()
    assert cloud.run("end").returncode == 0
    shutil.rmtree(cloud.checkout / ".git")
    cloud.works()
    done = cloud.run("end")
    assert done.returncode == 1 and "run ended with 1 while packing this checkout" in done.stderr
    assert not {"tpu-vm scp", "tpu-vm ssh"} & set(cloud.calls())
