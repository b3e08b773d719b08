"""A cloud with one TPU slice of two workers, in a folder: a `gcloud` that records its calls and fails as told.

The queued resource is the file `queue`, its state and those that follow: each look at it goes to the next, at the last
of which it stays; GONE is none. The slice is the file `node`, its state, READY with ACTIVE. Every worker is a folder,
its home, in which commands run at once.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

# `fail` holds HOW, a space, and the number of a call. HOW is `before`, which fails without an effect; `after`, whose
# connection is lost after the effect; `hang`; `down`, from which call on every one fails; or `raced`, before which
# another has requested the slice.
GCLOUD = r"""#!/usr/bin/env bash
set -e
cd "$CLOUD"
printf '%s\n' "${*//$'\n'/ }" >>calls
read -r how number <<<"$(cat fail 2>/dev/null)" || true
count="$(wc -l <calls)"
failed() { echo "ERROR: (gcloud.$3.$4) $how call $count" >&2; exit "${GCLOUD_STATUS:-1}"; }
error() { echo "ERROR: (gcloud) $1" >&2; exit 1; }
if [ "$count" = "$number" ] && [ "$how" = hang ]; then : >hangs; exec sleep 60; fi
if [ "$count" = "$number" ] && [ "$how" = before ]; then failed "$@"; fi
if [ "$count" = "$number" ] && [ "$how" = raced ]; then printf 'PROVISIONING\nACTIVE\n' >queue; fi
if [ "$how" = down ] && [ "$count" -ge "$number" ]; then failed "$@"; fi

workers=(0 1)
for word; do
  case "$word" in --worker=[01]) workers=("${word#--worker=}") ;; --command=*) command="${word#--command=}" ;; esac
done
case "$3 $4" in
  "queued-resources list")
    if [ -e queue ]; then
      head -n 1 queue
      if [ "$(wc -l <queue)" -gt 1 ]; then
        sed -i 1d queue
        case "$(head -n 1 queue)" in ACTIVE) echo READY >node ;; GONE) rm queue ;; esac
      fi
    fi
    ;;
  "queued-resources create")
    if [ -e queue ]; then error "ALREADY_EXISTS: $5"; fi
    printf '%s\n' ${QUEUE:-ACCEPTED PROVISIONING ACTIVE} >queue
    ;;
  "queued-resources delete")
    if [ ! -e queue ]; then error "NOT_FOUND: $5"; fi
    rm -f queue node
    ;;
  "tpu-vm list") cat node 2>/dev/null || true ;;
  *)
    if [ "$(cat node 2>/dev/null)" != READY ]; then error "This TPU has terminal state $(cat node 2>/dev/null)"; fi
    status=0
    case "$4,$6" in
      ssh,*) for w in "${workers[@]}"; do (cd "worker$w"; HOME="$PWD" bash -c "$command") || status=$?; done ;;
      scp,*:*) for w in "${workers[@]}"; do cp "$5" "worker$w/${6#*:}"; done ;;
      scp,*) cp "worker0/${5#*:}" "$6" ;;
    esac
    if [ "$status" != 0 ]; then exit "$status"; fi
    ;;
esac
if [ "$count" = "$number" ] && [ "$how" = after ]; then failed "$@"; fi
"""

# In place of bert_jax on the workers: prints its arguments; `fail` fails twice before, `wait` runs until it is stopped.
BERT_JAX = """
import pathlib, signal, sys, time
count = pathlib.Path("attempts")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if len(count.read_text()) < 3 and "fail" in sys.argv:
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("given:", sys.argv[1:], flush=True)
time.sleep(60 if "wait" in sys.argv else 0)
"""


class Cloud:
    """The folder of the cloud, and a checkout with stand-ins for what would be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cloud"
        self.workers = [self.folder / "worker0", self.folder / "worker1"]
        self.checkout = folder / "checkout"
        programs = folder / "programs"
        for each in (*self.workers, self.checkout / "launch", self.checkout / "bert_jax", programs):
            each.mkdir(parents=True)
        for name, text in (("gcloud", GCLOUD), ("sudo", "#!/bin/sh\n"), ("gcsfuse", "#!/bin/sh\n")):
            (programs / name).write_text(text)
            (programs / name).chmod(stat.S_IRWXU)
        self._check_out()
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CLOUD": str(self.folder),
            "TPU_POLL": "0",
            "TMPDIR": str(folder),
        }

    def _check_out(self) -> None:
        for script in ("tpu_pod.sh", "tpu_worker.sh"):
            shutil.copy(ROOT / "launch" / script, self.checkout / "launch")
        (self.checkout / "launch/install.sh").write_text(
            "install_package() { mkdir -p .venv/bin; echo extra=$1 >.venv/bin/activate; }\n"
        )
        (self.checkout / "bert_jax/__init__.py").touch()
        (self.checkout / "bert_jax/__main__.py").write_text(BERT_JAX)
        (self.checkout / ".gitignore").write_text("corpus\n")
        (self.checkout / "corpus").write_text("large")
        subprocess.run(["git", "init", "--quiet", self.checkout], check=True)

    def start(self, verb: str, *words: str | Path, **environment: str) -> subprocess.Popen:
        """launch/tpu_pod.sh in its own process group, as in a terminal."""
        return subprocess.Popen(
            # A program started in the background ignores SIGINT, unless told otherwise.
            [
                "env",
                "--default-signal=INT",
                "bash",
                self.checkout / "launch/tpu_pod.sh",
                verb,
                "--name",
                "t",
                *words,
            ],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, verb: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess:
        """launch/tpu_pod.sh to its end."""
        process = self.start(verb, *words, **environment)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        return self.call("run", "--storage", "gs://b", "--", *command, **environment)

    def has(self, *states: str, node: str | None = None) -> None:
        """Sets the states that the queued resource goes through, none for none, and that of the slice."""
        for name, lines in (("queue", states), ("node", (node,) if node else ())):
            (self.folder / name).unlink(missing_ok=True)
            if lines:
                (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def fail(self, how: str, number: int) -> None:
        """How call `number`, counted from 1 from now on, fails."""
        (self.folder / "calls").unlink(missing_ok=True)
        (self.folder / "fail").write_text(f"{how} {number}\n")

    def works(self) -> None:
        """No call fails, and the recorded ones are forgotten."""
        self.fail("before", 0)

    def calls(self) -> list[str]:
        """The calls as `KIND VERB`."""
        path = self.folder / "calls"
        return (
            [" ".join(line.split()[2:4]) for line in path.read_text().splitlines()] if path.exists() else []
        )

    def states(self) -> list[str]:
        """What is in the cloud and may be billed: the next state of the queued resource and that of the slice."""
        return [
            (self.folder / name).read_text().split("\n")[0]
            for name in ("queue", "node")
            if (self.folder / name).exists()
        ]

    def log(self, worker: int) -> str:
        path = self.workers[worker] / "bert_jax/run.log"
        return path.read_text() if path.exists() else ""


def wait_for(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Returns once `holds()`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
