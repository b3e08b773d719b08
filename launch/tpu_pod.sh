#!/usr/bin/env bash
# Pretraining on a TPU VM slice of any number of hosts, with gcloud. Every worker runs the same command; jax finds
# the others through the slice's metadata.
#
#   launch/tpu_pod.sh create  --name N             requests a slice through the queue and waits for it
#   launch/tpu_pod.sh run     --name N -- COMMAND  installs this checkout on every worker and starts bert-jax COMMAND
#   launch/tpu_pod.sh logs    --name N [--worker I]       follows the output of a worker; default 0, which prints
#   launch/tpu_pod.sh collect --name N --workdir W [--out D]   copies metrics, plots and the export W/hf here
#   launch/tpu_pod.sh delete  --name N             deletes the slice; --storage keeps its files
#
#   --storage S   shared by all workers, mounted at /mnt/shared: gs://BUCKET (by gcsfuse) or HOST:/SHARE (NFS, such
#                 as Filestore). Put workdir, corpus and vocabulary there: --workdir /mnt/shared/runs/base
#   --project P --zone Z --type T --version V   defaults: TPU_PROJECT (else gcloud's), TPU_ZONE, TPU_TYPE, TPU_VERSION
#   --on-demand   create: no spot slice; a spot slice costs less and may be preempted at any time
#   --queued Q    the queued resource, default N-queued
#   --restarts R  run: how often a command that fails is started again, default 3; wrong usage (2) never is
#   --dry-run     prints the commands without running them
#
# A preempted spot slice loses its disks: `create` deletes what is left of it and requests another; then the same
# `run` resumes from the last checkpoint in the workdir. TPU_NAME and TPU_STORAGE are the defaults of their options.
set -euo pipefail

readonly MOUNT=/mnt/shared PLACE=bert_jax
readonly USAGE="launch/tpu_pod.sh create|run|logs|collect|delete --name N [...]"

fail() { # one line, exit status 2
  echo "tpu_pod.sh: $1" >&2
  exit 2
}

step() { # runs its arguments; with --dry-run, prints them quoted
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@" | sed 's/ $//'
    echo
  else
    "$@"
  fi
}

tpu() { step gcloud compute tpus "$@" --zone="$zone" ${project:+"--project=$project"}; }

on_workers() { # WORKER SCRIPT
  tpu tpu-vm ssh "$name" --worker="$1" --command="$2"
}

quoted() { # its arguments, quoted for the shell of a worker
  printf '%q ' "$@" | sed 's/ $//'
}

describe() { tpu queued-resources describe "$queued" --format='value(state.state)'; }

create() {
  local left=''
  [ -n "$dry_run" ] || left="$(describe 2>/dev/null)" || left=''
  case "$left" in
    ACTIVE) echo "$name is active already" && return ;;
    SUSPENDED | SUSPENDING | FAILED) delete ;;&
    '' | SUSPENDED | SUSPENDING | FAILED)
      tpu queued-resources create "$queued" --node-id="$name" --accelerator-type="$type" \
        --runtime-version="$version" ${spot:+--spot}
      ;;
  esac
  wait_until_active
}

wait_until_active() { # minutes to days; after Ctrl-C, the same command waits again
  local state=''
  if [ -n "$dry_run" ]; then
    describe
    return
  fi
  while [ "$state" != ACTIVE ]; do
    [ -z "$state" ] || sleep "${TPU_POLL:-30}"
    state="$(describe)"
    echo "$(date +%H:%M:%S) $queued: $state"
    case "$state" in
      FAILED | SUSPENDED | SUSPENDING) echo "tpu_pod.sh: $queued is $state: create it again" >&2 && exit 1 ;;
    esac
  done
}

# Mounts $storage at $MOUNT unless it is mounted. Not every image has gcsfuse.
mount_script() {
  case "$storage" in
    gs://*)
      cat <<'EOF'
command -v gcsfuse >/dev/null || {
  key=/usr/share/keyrings/cloud.google.asc source=https://packages.cloud.google.com/apt
  curl -fsS "$source/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] $source gcsfuse-$(lsb_release -c -s) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get update -qq
  sudo apt-get install -y -qq gcsfuse
}
EOF
      ;;
    *) echo "command -v mount.nfs >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq nfs-common; }" ;;
  esac
  echo "sudo mkdir -p $MOUNT"
  case "$storage" in
    gs://*)
      # A checkpoint is written to a temporary folder and renamed, with all of its files: hence the limit.
      echo "sudo chown \"\$(id -un)\" $MOUNT"
      echo "mountpoint -q $MOUNT || gcsfuse --implicit-dirs --rename-dir-limit 200000 $(quoted "${storage#gs://}") $MOUNT"
      ;;
    *) echo "mountpoint -q $MOUNT || sudo mount -t nfs $(quoted "$storage") $MOUNT" ;;
  esac
}

install_script() {
  echo "set -e"
  mount_script
  cat <<EOF
mkdir -p $PLACE && tar -xzf bert_jax.tar.gz -C $PLACE && cd $PLACE
EOF
  cat <<'EOF'
python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  export PYTHON=python3.11
  command -v $PYTHON >/dev/null || {
    sudo apt-get update -qq
    sudo apt-get install -y -qq python3.11-venv
  }
}
. launch/install.sh
install_package tpu
EOF
}

# The command keeps running when the connection ends. It is not run again if it finished (0), has wrong usage (2) or
# was stopped (130, 143). If it failed it is, on every worker: when one process fails, all do.
start_script() {
  cat <<EOF
set -e
cd $PLACE
if [ -e run.pid ] && kill -0 "\$(cat run.pid)" 2>/dev/null; then
  echo "tpu_pod.sh: a command is running already: launch/tpu_pod.sh logs" >&2
  exit 1
fi
command=($(quoted "$@"))
restarts=$restarts
EOF
  cat <<'EOF'
{ declare -p command restarts; cat; } >run.sh <<'RUN'
. .venv/bin/activate
child=
trap 'kill -TERM "$child"' TERM
for ((attempt = 0; attempt <= restarts; attempt++)); do
  python -m bert_jax "${command[@]}" & child=$!
  wait "$child"
  status=$?
  while kill -0 "$child" 2>/dev/null; do # a signal interrupted `wait`; the child still runs
    wait "$child"
    status=$?
  done
  echo "tpu_pod.sh: exit status $status, $(date)"
  case $status in 0 | 2 | 130 | 143) break ;; esac
done
exit "$status"
RUN
nohup bash run.sh >run.log 2>&1 </dev/null &
echo $! >run.pid
EOF
}

run() {
  [ -n "$storage" ] || fail "run needs --storage gs://BUCKET or HOST:/SHARE, which every worker mounts at $MOUNT"
  [ $# -gt 0 ] || fail "run needs a command after --: run --name N -- pretrain --config FILE --workdir $MOUNT/runs/base"
  local folder install start
  folder=/tmp
  [ -n "$dry_run" ] || folder="$(mktemp -d)"
  install="$(install_script)"
  start="$(start_script "$@")"
  # The files that git tracks or would track, as they are now: no corpus, no run, no .venv.
  # shellcheck disable=SC2016 # expanded by that shell
  step bash -c 'git ls-files -z --cached --others --exclude-standard | tar -czf "$1" --null --files-from=-' \
    pack "$folder/bert_jax.tar.gz"
  tpu tpu-vm scp "$folder/bert_jax.tar.gz" "$name:bert_jax.tar.gz" --worker=all
  on_workers all "$install"
  on_workers all "$start"
}

logs() { on_workers "$worker" "tail -n 100 -F $PLACE/run.log"; }

collect() {
  [ -n "$workdir" ] || fail "collect needs --workdir, the folder of the run under $MOUNT"
  local files="config.json metrics.jsonl loss.png tensorboard hf"
  step mkdir -p "$out"
  on_workers 0 "cd $(quoted "$workdir") && tar -czf \"\$HOME/collected.tar.gz\" \$(ls -d $files 2>/dev/null)"
  tpu tpu-vm scp "$name:collected.tar.gz" "$out/collected.tar.gz" --worker=0
  step tar -xzf "$out/collected.tar.gz" -C "$out"
  step rm "$out/collected.tar.gz"
}

delete() { tpu queued-resources delete "$queued" --force --quiet; }

[ $# -gt 0 ] || fail "which of create, run, logs, collect, delete? $USAGE"
verb="$1"
shift
case "$verb" in
  create | run | logs | collect | delete) ;;
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
  *) fail "$verb is none of create, run, logs, collect, delete" ;;
esac

name="${TPU_NAME:-}" storage="${TPU_STORAGE:-}" project="${TPU_PROJECT:-}" zone="${TPU_ZONE:-us-central1-a}"
type="${TPU_TYPE:-v5litepod-16}" version="${TPU_VERSION:-}" queued='' spot=1 restarts=3 worker=0
workdir='' out='' dry_run=''
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift && break ;;
    --dry-run) dry_run=1 ;;
    --on-demand) spot='' ;;
    --name | --storage | --project | --zone | --type | --version | --queued | --restarts | --worker | --workdir | --out)
      [ $# -gt 1 ] || fail "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    *) fail "$1 is no option of it: $USAGE" ;;
  esac
  shift
done
[ "$verb" = run ] || [ $# -eq 0 ] || fail "$verb takes no command: $1"

matches() { [[ $2 =~ ^($3)$ ]] || fail "$1 ${2:-\"\"} must be $4"; }
matches --name "$name" '[a-z]([-a-z0-9]{0,40}[a-z0-9])?' "lower-case letters, digits and -, from a letter on"
matches --zone "$zone" '[a-z]+-[a-z]+[0-9]+-[a-z]' "a zone such as us-central1-a"
matches --type "$type" '(v[234]|v5p|v5litepod|v6e)-[1-9][0-9]*' "one of v2-, v3-, v4-, v5p-, v5litepod-, v6e- and a size: v6e-16"
matches --restarts "$restarts" '[0-9]+' "a whole number"
matches --worker "$worker" '[0-9]+' "a worker's number"
matches --storage "${storage:-gs://none}" 'gs://[-_.a-z0-9]+|[-.A-Za-z0-9]+:/[^ ]*' "gs://BUCKET or HOST:/SHARE"
queued="${queued:-$name-queued}" out="${out:-runs/$name}"
if [ -z "$version" ]; then
  case "$type" in
    v6e-*) version=v2-alpha-tpuv6e ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    *) version=tpu-ubuntu2204-base ;;
  esac
fi
[ -n "$dry_run" ] || command -v gcloud >/dev/null || {
  echo "tpu_pod.sh: no gcloud on the PATH: install the Google Cloud CLI, or see the commands with --dry-run" >&2
  exit 1
}
cd "$(dirname "$0")/.."
"$verb" "$@"
