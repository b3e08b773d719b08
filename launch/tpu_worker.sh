# shellcheck shell=bash
# The scripts that the workers of tpu_pod.sh run, printed by these functions:
#
#   . launch/tpu_worker.sh
#   install_script STORAGE           mounts it, and installs the checkout that was copied to the worker
#   start_script RESTARTS ARGUMENTS  starts bert-jax ARGUMENTS in the background, and again if it fails
#   stop_script                      lets it save and end

readonly MOUNT=/mnt/shared PLACE=bert_jax

quoted() { # its arguments, quoted for the shell of a worker
  printf '%q ' "$@" | sed 's/ $//'
}

# Mounts STORAGE at $MOUNT unless it is mounted. Not every image has gcsfuse.
mount_script() {
  local storage="$1"
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

# Nothing changes below a command that runs.
install_script() {
  cat <<EOF
set -e
if [ -e $PLACE/run.pid ] && kill -0 "\$(cat $PLACE/run.pid)" 2>/dev/null; then
  echo "tpu_pod.sh: a command is running already: launch/tpu_pod.sh logs, or stop" >&2
  exit 1
fi
EOF
  mount_script "$1"
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
restarts=$1
command=($(quoted "${@:2}"))
EOF
  cat <<'EOF'
{ declare -p command restarts; cat; } >run.sh <<'RUN'
. .venv/bin/activate
child= stopped=
trap 'stopped=1; kill -TERM $child 2>/dev/null' TERM
for ((attempt = 0; attempt <= restarts; attempt++)); do
  python -m bert_jax "${command[@]}" & child=$!
  [ -z "$stopped" ] || kill -TERM "$child" # the signal came before there was a child
  wait "$child"
  status=$?
  while kill -0 "$child" 2>/dev/null; do # a signal interrupted `wait`; the child still runs
    wait "$child"
    status=$?
  done
  echo "tpu_pod.sh: exit status $status, $(date)"
  case $status in 0 | 2 | 130 | 143) break ;; esac
  [ -z "$stopped" ] || break
done
exit "$status"
RUN
nohup bash run.sh >run.log 2>&1 </dev/null &
echo $! >run.pid
EOF
}

# Returns when the command has ended, with the last line of its log.
stop_script() {
  cat <<EOF
cd $PLACE && [ -e run.pid ] || exit 0
EOF
  cat <<'EOF'
pid="$(cat run.pid)"
kill -TERM "$pid" 2>/dev/null
while kill -0 "$pid" 2>/dev/null; do sleep 1; done
tail -n 1 run.log
EOF
}
