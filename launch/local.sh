#!/usr/bin/env bash
# Trains with several processes on this machine, as on the hosts of a cluster, over loopback:
#
#   bash launch/local.sh N pretrain --config FILE --workdir DIR [...]
#   bash launch/local.sh 4 pretrain --config experiments/bert_base.py --workdir runs/base
#
# Starts N times `python -m bert_jax ARGUMENTS --coordinator 127.0.0.1:PORT --processes N --process-id I`.
# GPUs (those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists) are shared out in order, as many to each
# process, and their number must be a multiple of N; without GPUs each process has the CPU.
# Process 0 speaks here; what the others say goes to $LOGS/process-I.txt (default: a new folder in the temporary
# one) and, should one fail, its last lines come here too. Ctrl-C and SIGTERM go to every process once, so that
# all save and end; a second Ctrl-C interrupts. Exit status: 0, or that of the first process that failed.
# PYTHON=... chooses the interpreter: by default the active environment's, or that of .venv. Needs bash 5.1.
set -euo pipefail

usage() {
  echo "usage: launch/local.sh N pretrain --config FILE --workdir DIR [...], N >= 1" >&2
  exit 2
}

[ $# -ge 2 ] || usage
count="$1"
shift
[[ "$count" =~ ^[1-9][0-9]*$ ]] || usage

python="${PYTHON:-python}"
venv="$(dirname "$0")/../.venv/bin/python"
if [ -z "${PYTHON:-}${VIRTUAL_ENV:-}" ] && [ -x "$venv" ]; then python="$venv"; fi
logs="${LOGS:-$(mktemp -d -t bert_jax-local-XXXXXX)}"
mkdir -p "$logs"
port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"

gpus="${CUDA_VISIBLE_DEVICES-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | paste -sd, || true)}"
IFS=, read -r -a gpu <<<"$gpus"
each=$((${#gpu[@]} / count))
if [ $((each * count)) -ne "${#gpu[@]}" ]; then
  echo "launch/local.sh: ${#gpu[@]} GPUs ($gpus) must be a multiple of $count processes: set CUDA_VISIBLE_DEVICES" >&2
  exit 2
fi

pids=()
signalled=0
# shellcheck disable=SC2329 # called by the traps
forward() {
  signalled=$((signalled + 1))
  kill "-$1" "${pids[@]}" 2>/dev/null || true
}
trap 'forward INT' INT
trap 'forward TERM' TERM HUP
trap 'kill -KILL "${pids[@]}" 2>/dev/null || true' EXIT # of those that are left: none, usually

# Each in a session of its own, so that a Ctrl-C of the terminal reaches it once, from here; bash has what it
# starts in the background ignore Ctrl-C, which env undoes.
for ((i = 0; i < count; i++)); do
  if [ "$each" -gt 0 ]; then
    share="${gpu[*]:i*each:each}"
    export CUDA_VISIBLE_DEVICES="${share// /,}"
  fi
  command=("$python" -m bert_jax "$@" --coordinator "127.0.0.1:$port" --processes "$count" --process-id "$i")
  if [ "$i" -eq 0 ]; then
    env --default-signal=INT setsid "${command[@]}" &
  else
    env --default-signal=INT setsid "${command[@]}" >"$logs/process-$i.txt" 2>&1 &
  fi
  pids+=("$!")
done

status=0
left=("${!pids[@]}")
while [ "${#left[@]}" -gt 0 ]; do
  waiting=()
  for i in "${left[@]}"; do waiting+=("${pids[i]}"); done
  ended=""
  code=0
  wait -n -p ended "${waiting[@]}" || code=$?
  [ -n "${ended:-}" ] || continue # a signal came: it was forwarded, wait on
  still=()
  for i in "${left[@]}"; do
    if [ "${pids[i]}" != "$ended" ]; then
      still+=("$i")
    elif [ "$code" -ne 0 ]; then
      [ "$status" -ne 0 ] || status="$code"
      if [ "$i" -gt 0 ] && [ "$signalled" -eq 0 ]; then
        echo "process $i ended with status $code: $logs/process-$i.txt" >&2
        tail -n 3 "$logs/process-$i.txt" >&2
      fi
    fi
  done
  left=("${still[@]}")
done
trap - EXIT
exit "$status"
