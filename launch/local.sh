#!/usr/bin/env bash
# Trains with several processes on this machine, connected as on a cluster, over loopback:
#
#   bash launch/local.sh N pretrain --config FILE --workdir DIR [...]
#   bash launch/local.sh 4 pretrain --config experiments/bert_base.py --workdir runs/base
#
# Runs `python -m bert_jax ARGUMENTS --coordinator 127.0.0.1:PORT --processes N --process-id I` N times.
# The GPUs (CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists) are divided equally, in order; their number must be
# a multiple of N. Without GPUs every process uses the CPU.
# Process 0 prints here; the output of the others goes to $LOGS/process-I.txt (default: a new temporary folder), and
# the last lines of one that fails are printed here. Ctrl-C and SIGTERM are forwarded once to every process, so that
# all save and end; a second Ctrl-C interrupts. Exit status: 0, or that of the first process that failed.
# PYTHON=... selects the interpreter: by default that of the active environment, else of .venv. Needs bash 5.1.
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
trap 'kill -KILL "${pids[@]}" 2>/dev/null || true' EXIT # those still running: usually none

# Every process has its own session, so that Ctrl-C reaches it only once, by `forward`. bash makes background
# processes ignore SIGINT; env restores it.
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
  [ -n "${ended:-}" ] || continue # a signal interrupted `wait`, and was forwarded
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
