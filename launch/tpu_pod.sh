#!/usr/bin/env bash
# Pretraining on a TPU VM slice of any number of hosts, with gcloud. Every worker runs the same command; jax finds
# the others through the slice's metadata.
#
#   launch/tpu_pod.sh create  --name N             requests a slice through the queue and waits for it
#   launch/tpu_pod.sh run     --name N -- COMMAND  installs this checkout on every worker and starts bert-jax COMMAND
#   launch/tpu_pod.sh logs    --name N [--worker I]       follows the output of a worker; default 0, which prints
#   launch/tpu_pod.sh stop    --name N             the command saves and ends, on every worker
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
#
# A slice is billed from ACTIVE on until `delete`, whether a command runs or not: however this script ends, its last
# line says whether that is so. Exit status: 0 done, 1 a step failed, 2 wrong usage, 130 and 143 interrupted.
set -euo pipefail

# shellcheck disable=SC1091 # its path depends on where this file is
. "$(dirname "$0")/tpu_worker.sh"
readonly USAGE="launch/tpu_pod.sh create|run|logs|stop|collect|delete --name N [...]"

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

listed() { # KIND NAME FIELD: the field of one resource; nothing if there is none, which `describe` calls an error
  tpu "$1" list --filter="name~/$2\$" --format="value($3)"
}

# The state of the queued resource; nothing if there is none. LOST is none of the queue's: the slice of an ACTIVE
# resource was preempted or deleted, and the queue has not said so yet.
slice_state() {
  local state node
  state="$(listed queued-resources "$queued" state.state)" || return
  if [ "$state" = ACTIVE ]; then
    node="$(listed tpu-vm "$name" state)" || return
    case "$node" in '' | PREEMPTED | TERMINATED) state=LOST ;; esac
  fi
  echo "$state"
}

create() {
  local state=''
  doing="asking for the state of $queued"
  [ -n "$dry_run" ] || state="$(slice_state)"
  case "$state" in
    SUSPENDING | SUSPENDED | LOST | FAILED)
      echo "$queued is $state: it is deleted and requested again"
      delete
      state=DELETING
      ;;
  esac
  if [ "$state" = DELETING ]; then
    wait_until ''
    state=''
  fi
  [ -n "$state" ] || request
  if [ -n "$dry_run" ]; then slice_state; else wait_until ACTIVE; fi
}

# A request that failed may have arrived: the connection was lost, or another `create` was first.
request() {
  doing="requesting $queued"
  tpu queued-resources create "$queued" --node-id="$name" --accelerator-type="$type" \
    --runtime-version="$version" ${spot:+--spot} || [ -n "$(slice_state)" ]
}

# STATE; '' waits until there is no such resource. ACTIVE takes minutes to days, so single polls may fail.
wait_until() {
  local state failures=0
  doing="waiting until $queued is ${1:-deleted}"
  while true; do
    if state="$(slice_state)"; then
      failures=0
      echo "$(date +%H:%M:%S) $queued: ${state:-deleted}"
      [ "$state" != "$1" ] || return 0
      case "$1,$state" in ACTIVE, | ACTIVE,FAILED | ACTIVE,SUSPEND* | ACTIVE,LOST) return 1 ;; esac
    else
      failures=$((failures + 1))
      [ "$failures" -lt 5 ] || return 1
    fi
    sleep "${TPU_POLL:-30}"
  done
}

# shellcheck disable=SC2016 # expanded by the shell that packs
# The files that git tracks or would track, as they are now: no corpus, no run, no .venv. A tracked file may be deleted.
readonly PACK='set -o pipefail
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d "" file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done |
  tar -czf "$1" --null --files-from=-'

run() {
  local install start
  install="$(install_script "$storage")"
  start="$(start_script "$restarts" "$@")"
  [ -n "$dry_run" ] || temporary="$(mktemp -d)"
  doing="packing this checkout"
  step bash -c "$PACK" pack "${temporary:-/tmp}/bert_jax.tar.gz"
  doing="copying it to the workers"
  tpu tpu-vm scp "${temporary:-/tmp}/bert_jax.tar.gz" "$name:bert_jax.tar.gz" --worker=all
  doing="installing it on the workers"
  on_workers all "$install"
  doing="starting the command on the workers"
  next="it may run on some of them: launch/tpu_pod.sh stop, then the same command"
  on_workers all "$start"
}

logs() {
  doing="following the output of worker $worker"
  next="the command on the workers goes on"
  on_workers "$worker" "tail -n 100 -F $PLACE/run.log"
}

stop() {
  doing="stopping the command on the workers"
  on_workers all "$(stop_script)"
}

collect() {
  local files="config.json metrics.jsonl loss.png tensorboard hf"
  doing="packing the files of $workdir on worker 0"
  on_workers 0 "cd $(quoted "$workdir") && tar -czf \"\$HOME/collected.tar.gz\" \$(ls -d $files 2>/dev/null)"
  doing="copying them here"
  step mkdir -p "$out"
  tpu tpu-vm scp "$name:collected.tar.gz" "$out/collected.tar.gz" --worker=0
  step tar -xzf "$out/collected.tar.gz" -C "$out"
  step rm "$out/collected.tar.gz"
}

delete() {
  doing="deleting $queued"
  tpu queued-resources delete "$queued" --force --quiet
}

# However this script ends: what it was doing, and what goes on, and is billed, without it.
report() {
  local status=$? state=ACTIVE
  set +e
  trap : INT TERM HUP # one that comes now may end gcloud, but not this
  [ -z "$temporary" ] || rm -rf "$temporary"
  case "$status" in
    0) [ "$verb" != delete ] || state='' ;;
    130 | 143) state=unknown ;; # ends at once
    *)
      status=1
      state="$(slice_state 2>/dev/null)" || state=unknown
      ;;
  esac
  if [ "$status" -ne 0 ]; then
    echo "tpu_pod.sh: $verb ended with $status while $doing; $next" >&2
  fi
  echo "tpu_pod.sh: $(outlook "$state")" >&2
  exit "$status"
}

outlook() { # STATE
  local options="--name $name --queued $queued --zone $zone${project:+ --project $project}"
  local until="until: launch/tpu_pod.sh delete $options"
  case "$1" in
    '') echo "there is no $queued in $zone, nothing is billed there (see --zone, --project, --queued)" ;;
    ACTIVE) echo "$name is active, and billed $until" ;;
    LOST | SUSPENDING | SUSPENDED | FAILED)
      echo "$queued is $1, and not billed: \`create\` requests another slice, then the same \`run\` resumes"
      ;;
    unknown) echo "$queued may wait or be active, and billed, $until" ;;
    *) echo "$queued is $1: it can become active, and billed, without this script, $until" ;;
  esac
}

[ $# -gt 0 ] || fail "which of create, run, logs, stop, collect, delete? $USAGE"
verb="$1"
shift
case "$verb" in
  create | run | logs | stop | collect | delete) ;;
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
  *) fail "$verb is none of create, run, logs, stop, collect, delete" ;;
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
if [ "$verb" = run ]; then
  [ -n "$storage" ] || fail "run needs --storage gs://BUCKET or HOST:/SHARE, which every worker mounts at $MOUNT"
  [ $# -gt 0 ] || fail "run needs a command after --: run --name N -- pretrain --config FILE --workdir $MOUNT/runs/base"
fi
[ "$verb" != collect ] || [ -n "$workdir" ] || fail "collect needs --workdir, the folder of the run under $MOUNT"
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
doing='' next="the same command goes on" temporary=''
if [ -z "$dry_run" ]; then
  trap report EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
fi
"$verb" "$@"
