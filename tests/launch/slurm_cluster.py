"""A Slurm cluster on this machine for the duration of the tests: munged, slurmctld and a slurmd for each of two nodes.

Its files are in one temporary folder, and it uses free ports and its own socket, so that it does not disturb a Slurm
that is installed here. It needs Debian's slurm-wlm and munge, and root, as slurmd starts jobs.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
_SYSTEM = "/usr/sbin:/usr/local/sbin"
# Runs a command in its own PID namespace, and mount namespace: its descendants end with it.
_TOGETHER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# The variables that a job inherits: the tests' cheap compilation, but one device per process.
_PASSED = (
    "PATH",
    "HOME",
    "LANG",
    "VIRTUAL_ENV",
    "XLA_FLAGS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)

NODES = ("node1", "node2")

_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ReturnToService=2
KillWait=30
MinJobAge=36000
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=60 State=UP
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 Gres=gpu:2 RealMemory=2000\n"
)


def missing() -> str | None:
    """Why no Slurm can be started here; None if it can."""
    absent = [name for name in DAEMONS if _daemon(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "slurmd starts jobs only as root"
    if subprocess.run([*_TOGETHER, "true"], capture_output=True).returncode:
        return "no PID namespace can be created, so jobs could outlive the tests"
    return None


class Cluster:
    """Slurm's commands, and waiting for their effects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "JAX_PLATFORMS": "cpu"}

    def run(
        self, *command: str | Path, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> str:
        """Runs a command of Slurm, or one that calls Slurm, in `folder`; returns its stdout."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command} exited {done.returncode}: {done.stderr}{self.logs()}"
        return done.stdout

    def submit(
        self,
        script: Path,
        *arguments: str | Path,
        folder: Path,
        options: tuple[str, ...] = (),
        **environment: str,
    ) -> str:
        """Submits `script` in `folder` and returns the job's number; `environment` is added to its variables."""
        words = ("sbatch", "--parsable", *options, script, *arguments)
        return self.run(*words, folder=folder, environment=environment).strip()

    def show(self, job: str) -> dict[str, str]:
        """The fields of a job: JobState, Restarts, ExitCode ("status:signal"), ..."""
        return dict(re.findall(r"(\w+)=(\S+)", self.run("scontrol", "show", "job", job)))

    def wait(self, holds: Callable[[], bool], what: str, *, seconds: float = 180, every: float = 0.1) -> None:
        """Returns once `holds()`; fails with Slurm's logs if that takes longer than `seconds`."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not within {seconds} s: {what}{self.logs()}"
            time.sleep(every)

    def end_of(self, job: str, *, seconds: float = 180) -> dict[str, str]:
        """The fields of a job once it has ended and will not run again."""
        states: list[dict[str, str]] = []

        def ended() -> bool:
            states.append(self.show(job))
            return states[-1]["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")

        self.wait(ended, f"the end of job {job}", seconds=seconds)
        return states[-1]

    def logs(self) -> str:
        texts = [
            f"\n--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:])
            for path in sorted(self.folder.glob("*.log"))
        ]
        return "".join(texts)


@contextlib.contextmanager
def started() -> Iterator[Cluster]:
    """A cluster of two nodes of 8 CPUs, whatever this machine has; its jobs and daemons end with it.

    A job of the partition `urgent` preempts those of `main`, the default, which Slurm queues again.
    """
    # Not below pytest's folders: munged requires every folder above its socket to be readable by all.
    folder = Path(tempfile.mkdtemp(prefix="bert_jax-slurm-"))
    folder.chmod(0o755)
    cluster = Cluster(folder)
    daemons: list[subprocess.Popen] = []
    try:
        _configure(folder)
        daemons.append(_munged(folder))
        cluster.wait((folder / "munge/socket").exists, "munged's socket", seconds=10)
        daemons.append(_slurmctld(cluster))
        daemons += [_slurmd(cluster, node) for node in NODES]
        cluster.wait(lambda: _idle(cluster) == set(NODES), "idle nodes", seconds=30)
        yield cluster
    finally:
        for daemon in daemons:
            daemon.kill()
        for daemon in daemons:
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    (folder / "state").mkdir()
    values = {
        "host": socket.gethostname().split(".")[0],
        "folder": folder,
        "slurmctld_port": _free_port(),
    }
    nodes = [_NODE.format(name=name, host=values["host"], port=_free_port()) for name in NODES]
    (folder / "slurm.conf").write_text(_CONF.format(**values) + "".join(nodes))
    for name in ("gpu0", "gpu1"):
        (folder / name).touch()
    (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={folder}/gpu[0-1]\n")
    # A job finds its first node by its name.
    names = "".join(f"127.0.0.1 {name}\n" for name in NODES)
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + names)


def _munged(folder: Path) -> subprocess.Popen:
    home = folder / "munge"
    home.mkdir(mode=0o755)
    key = home / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
    options = [f"--{option}={home / name}" for option, name in files.items() if option != "log-file"]
    command = [str(_daemon("munged")), "--foreground", *options]
    return _begin(command, None, folder / "munged.log")


def _slurmctld(cluster: Cluster) -> subprocess.Popen:
    return _begin(
        [str(_daemon("slurmctld")), "-D"], cluster.environment, cluster.folder / "slurmctld.stderr.log"
    )


def _slurmd(cluster: Cluster, node: str) -> subprocess.Popen:
    """A node's slurmd in namespaces of its own: its helpers and jobs end with it, and find the nodes' names."""
    (cluster.folder / f"spool-{node}").mkdir()
    program = 'mount --bind "$1/hosts" /etc/hosts && exec "$2" -D -N "$3"'
    command = [*_TOGETHER, "sh", "-c", program, "sh", str(cluster.folder), str(_daemon("slurmd")), node]
    return _begin(command, cluster.environment, cluster.folder / f"{node}.stderr.log")


def _begin(command: list[str], environment: dict[str, str] | None, log: Path) -> subprocess.Popen:
    """A daemon that ends with this process, however that ends."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )


def _idle(cluster: Cluster) -> set[str]:
    """The nodes that wait for jobs; none if slurmctld does not answer."""
    words = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N %T"]
    done = subprocess.run(words, env=cluster.environment, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return {node for node, state in lines if state == "idle"}  # a line for each partition


def _daemon(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
