"""What the Slurm executor asks of Slurm, which is played by two scripts; tests/launch has a real one."""

import json
import subprocess
import sys

import pytest

from bert_jax.errors import UserError
from bert_jax.sweeps import slurm, store
from tests.sweeps.plans import make_plan


@pytest.fixture
def played(tmp_path, monkeypatch):
    """A folder on PATH whose sbatch notes its words, and whose squeue prints the file `queue`."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "queue").write_text("")
    for name, text in {
        "sbatch": f'printf "%s\\n" "$@" >{place}/words; echo "77;cluster"',
        "squeue": f"cat {place}/queue",
    }.items():
        (place / name).write_text(f"#!/bin/bash\n{text}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return place


def submit(S, trials, unfinished, **options):
    return slurm.submit(S, trials, unfinished, **{"jobs": None, "attempts": 3, "options": (), **options})


def test_the_unfinished_trials_are_one_array_numbered_by_the_plan(played, tmp_path):
    plan, S = make_plan(), tmp_path / "a sweep"
    store.claim(S, plan)
    left = [plan.trials[1], plan.trials[3]]
    assert submit(S, plan.trials, left, jobs=2, options=("--gpus=1", "--time=8:00:00")) == ("77", [])
    *options, script = (played / "words").read_text().splitlines()
    assert {"--parsable", "--array=1,3%2", "--gpus=1", "--time=8:00:00"} <= set(options)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert subprocess.run([f"{sys.prefix}/bin/shellcheck", script]).returncode == 0
    assert [json.loads(line) for line in (S / "slurm/jobs.jsonl").read_text().splitlines()] == [
        {"job": "77", "trials": {"1": "b-seed0", "3": "b-seed1"}}
    ]


def test_a_task_runs_the_plain_command_of_its_trial_into_its_log(played, tmp_path, monkeypatch):
    plan, S = make_plan(), tmp_path / "a sweep"
    store.claim(S, plan)
    launcher = tmp_path / "slurm.sbatch"
    launcher.write_text('echo "$ATTEMPTS $PYTHON $JAX_COMPILATION_CACHE_DIR"; printf "%s\\n" "$@"\n')
    monkeypatch.setattr(slurm, "_LAUNCHER", launcher)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    submit(S, plan.trials, plan.trials, attempts=5)
    assert subprocess.run(["bash", str(S / "slurm/array.sh")]).returncode == 0
    assert (S / "logs/b-seed0.txt").read_text().splitlines() == [
        f"5 {sys.executable} {S}/cache",
        "trial",
        str(S),
        "b-seed0",
    ]


def test_what_is_queued_or_running_is_not_submitted_again(played, tmp_path):
    plan, S = make_plan(), tmp_path / "S"
    store.claim(S, plan)
    submit(S, plan.trials, plan.trials[:2])
    (played / "queue").write_text("77_1\n12_0\n")  # another's job is not ours
    assert submit(S, plan.trials, plan.trials[:2]) == ("77", ["b-seed0"])
    assert "--array=0" in (played / "words").read_text().splitlines()
    (played / "queue").write_text("77_0\n77_1\n")
    assert submit(S, plan.trials, plan.trials[:2]) == (None, ["a-seed0", "b-seed0"])


def test_what_slurm_refuses_is_one_line(played, tmp_path, monkeypatch):
    plan, S = make_plan(), tmp_path / "S"
    store.claim(S, plan)
    (played / "sbatch").write_text(
        "#!/bin/bash\necho 'sbatch: error: invalid partition: x' >&2\necho more >&2\nexit 1\n"
    )
    with pytest.raises(UserError) as error:
        submit(S, plan.trials, plan.trials)
    assert str(error.value) == "sbatch refused with status 1: sbatch: error: invalid partition: x"
    assert not (S / "slurm/jobs.jsonl").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--executor slurm needs sbatch"):
        submit(S, plan.trials, plan.trials)


def test_without_the_checkout_it_says_so(played, tmp_path, monkeypatch):
    plan, S = make_plan(), tmp_path / "S"
    store.claim(S, plan)
    monkeypatch.setattr(slurm, "_LAUNCHER", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"--executor slurm needs .*nowhere: .* from a checkout"):
        submit(S, plan.trials, plan.trials)
