"""launch/tpu_pod.sh: the commands of a dry run, and the workers' scripts, run by a stand-in for gcloud."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POD = ROOT / "launch" / "tpu_pod.sh"


def call(*words, **options):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, **options)


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


def test_create_requests_a_spot_slice_and_waits():
    ask, wait = dry(
        "create", "--name", "my-tpu", "--project", "p", "--zone", "us-east5-b", "--type", "v6e-16"
    )
    assert ask == [
        "gcloud", "compute", "tpus", "queued-resources", "create", "my-tpu-queued", "--node-id=my-tpu",
        "--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e", "--spot", "--zone=us-east5-b",
        "--project=p",
    ]  # fmt: skip
    assert wait[:6] == ["gcloud", "compute", "tpus", "queued-resources", "describe", "my-tpu-queued"]
    assert "--format=value(state.state)" in wait


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
    make, pack, copy, *_ = dry(
        "collect", "--name", "t", "--workdir", "/mnt/shared/my run", "--out", "here there"
    )
    assert make == ["mkdir", "-p", "here there"]
    assert r"cd /mnt/shared/my\ run" in pack[7] and all(
        f in pack[7] for f in ("metrics.jsonl", "tensorboard", "hf")
    )
    assert copy[3:7] == ["tpu-vm", "scp", "t:collected.tar.gz", "here there/collected.tar.gz"]
    (delete,) = dry("delete", "--name", "t", "--queued", "q")
    assert delete[3:8] == ["queued-resources", "delete", "q", "--force", "--quiet"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which of create, run, logs, collect, delete?"),
        (["start"], "start is none of create, run, logs, collect, delete"),
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


# gcloud for a slice of two workers: each is a folder, its home, in which commands run at once. The queued resource
# goes through the states in the file `states`.
GCLOUD = """#!/usr/bin/env bash
set -e
cd "$SLICE"
printf '%s\\n' "${*//$'\\n'/ }" >>calls
workers=(0 1)
for word; do
  case "$word" in --worker=[01]) workers=("${word#--worker=}") ;; --command=*) command="${word#--command=}" ;; esac
done
case "$3 $4" in
  "queued-resources describe") head -n 1 states; sed -i 1d states ;;
  "tpu-vm ssh") for w in "${workers[@]}"; do (cd "worker$w"; HOME="$PWD" bash -c "$command"); done ;;
  "tpu-vm scp")
    case "$6" in
      *:*) for w in "${workers[@]}"; do cp "$5" "worker$w/${6#*:}"; done ;;
      *) cp "worker0/${5#*:}" "$6" ;;
    esac
    ;;
esac
"""
# In place of bert_jax on the workers: fails twice, then prints its arguments.
BERT_JAX = """
import pathlib, signal, sys, time
count = pathlib.Path("attempts")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if len(count.read_text()) < 3:
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("given:", sys.argv[1:], flush=True)
time.sleep(60 if "wait" in sys.argv else 0)
"""


@pytest.fixture
def slice_of_two(tmp_path, monkeypatch):
    """A checkout with stand-ins for what would be installed, and a gcloud that runs on this machine."""
    slice_, checkout, programs = (tmp_path / name for name in ("slice", "checkout", "bin"))
    for folder in (
        slice_ / "worker0",
        slice_ / "worker1",
        checkout / "launch",
        checkout / "bert_jax",
        programs,
    ):
        folder.mkdir(parents=True)
    shutil.copy(POD, checkout / "launch")
    (checkout / "launch/install.sh").write_text(
        "install_package() { mkdir -p .venv/bin; echo extra=$1 >.venv/bin/activate; }\n"
    )
    (checkout / "bert_jax/__init__.py").touch()
    (checkout / "bert_jax/__main__.py").write_text(BERT_JAX)
    (checkout / ".gitignore").write_text("corpus\n")
    (checkout / "corpus").write_text("large")
    call("git", "init", "--quiet", checkout)
    for name, text in (("gcloud", GCLOUD), ("sudo", "#!/bin/sh\n"), ("gcsfuse", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLICE", str(slice_))
    monkeypatch.setenv("TPU_POLL", "0")
    return slice_, checkout / "launch/tpu_pod.sh"


def wait_for(path, text):
    end = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, path.read_text() if path.exists() else f"no {path}"
        time.sleep(0.05)


def test_every_worker_gets_the_checkout_and_restarts_a_command_that_failed(slice_of_two, tmp_path):
    slice_, pod = slice_of_two
    start = ("bash", pod, "run", "--name", "t", "--storage", "gs://b", "--")
    done = call(*start, "pretrain", "--config=a b.py")
    assert done.returncode == 0, done.stderr
    for worker in ("worker0", "worker1"):
        wait_for(slice_ / worker / "bert_jax/run.log", "exit status 0")
        log = (slice_ / worker / "bert_jax/run.log").read_text()
        assert log.count("exit status 1") == 2 and "given: ['pretrain', '--config=a b.py']" in log
        assert (slice_ / worker / "bert_jax/.venv/bin/activate").read_text() == "extra=tpu\n"
        assert not (slice_ / worker / "bert_jax/corpus").exists()

    workdir = tmp_path / "my run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text("{}\n")
    done = call("bash", pod, "collect", "--name", "t", "--workdir", workdir, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.jsonl"]


def test_a_running_command_is_not_started_twice_and_receives_sigterm(slice_of_two):
    slice_, pod = slice_of_two
    start = ("bash", pod, "run", "--name", "t", "--storage", "gs://b", "--", "wait")
    assert call(*start).returncode == 0
    folder = slice_ / "worker0/bert_jax"
    wait_for(folder / "run.log", "given")
    again = call(*start)
    assert again.returncode == 1 and "a command is running already" in again.stderr
    for worker in ("worker0", "worker1"):
        wait_for(slice_ / worker / "bert_jax/run.log", "given")
        os.kill(int((slice_ / worker / "bert_jax/run.pid").read_text()), 15)
        wait_for(slice_ / worker / "bert_jax/run.log", "exit status 143")


def test_create_waits_and_replaces_a_slice_that_was_preempted(slice_of_two):
    slice_, pod = slice_of_two
    (slice_ / "states").write_text("SUSPENDED\nWAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n")
    done = call("bash", pod, "create", "--name", "t")
    assert done.returncode == 0 and "ACTIVE" in done.stdout.splitlines()[-1], done.stderr
    verbs = [line.split()[3] for line in (slice_ / "calls").read_text().splitlines()]
    assert verbs == ["describe", "delete", "create", "describe", "describe", "describe"]

    (slice_ / "states").write_text("\nFAILED\n")
    done = call("bash", pod, "create", "--name", "t")
    assert (done.returncode, done.stderr) == (1, "tpu_pod.sh: t-queued is FAILED: create it again\n")
