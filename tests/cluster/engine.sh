#!/usr/bin/env bash
# Gives the cluster a Docker engine: one that runs already, or Debian's dockerd, started here and stopped by `stop`.
#
# usage: engine.sh start|stop      stop leaves an engine that runs somebody's containers, or that a script uses (use_engine in lib.sh)
source "$(dirname "$0")/lib.sh"

PID_FILE="$MOORING_CACHE/cluster/dockerd.pid"
LOG="$MOORING_CACHE/log/dockerd.log"

# ours: the process in the pid file is the dockerd that start left behind, not a later one with its number.
ours() { [[ -s "$PID_FILE" ]] && [[ "$(cat "/proc/$(<"$PID_FILE")/comm" 2>/dev/null)" == dockerd ]]; }

# Root without CAP_SYS_RESOURCE (bit 24 of the bounding set) can't start privileged containers with plain runc.
lacks_sys_resource() { ! (((0x$(awk '/^CapBnd/{print $2}' /proc/self/status) >> 24) & 1)); }

start() {
  local options=(--pidfile "$PID_FILE") wrapper="$TOOLS/runc-wrapper/runc"
  STEPS=1
  if docker info >/dev/null 2>&1; then
    step "engine: the one that runs already, $(docker version --format '{{.Server.Version}}')"
    return
  fi
  need docker "run tools.sh engine, or start a Docker engine"
  need dockerd "run tools.sh engine, or start a Docker engine"
  ((EUID == 0)) || die "no engine answers: start Docker (sudo systemctl start docker; you have to be in the group docker), or run \
this as root so that it can start dockerd"
  step "engine: starting dockerd, log in $LOG"
  if lacks_sys_resource; then
    note "root lacks CAP_SYS_RESOURCE here: containers start through a wrapper of runc"
    need go "install Go 1.26 or later"
    CGO_ENABLED=0 go build -C "$CLUSTER_DIR/offline/runc" -buildvcs=false -trimpath -o "$wrapper" .
    options+=(--add-runtime "$WRAPPED_RUNTIME=$wrapper" --default-runtime "$WRAPPED_RUNTIME")
  fi
  rm -f "$PID_FILE"
  setsid dockerd "${options[@]}" >"$LOG" 2>&1 </dev/null 7>&- 8>&- 9>&- & # it would hold the locks of whoever starts it
  until_true 60 "dockerd (see $LOG)" docker info
}

stop() {
  local pid
  STEPS=1
  if ! ours; then
    step "engine: none was started here, nothing to stop"
    return
  fi
  # Who pulls or builds has no container to be seen by. A script that has just ended may have left a second's sleep.
  exec 8>"$MOORING_CACHE/cluster/engine.users"
  if ! flock --timeout 3 8 || [[ -n "$(docker ps --quiet)" ]]; then
    step "engine: others use it, and it stays"
    return
  fi
  pid="$(<"$PID_FILE")"
  step "engine: stopping dockerd, process $pid"
  kill -TERM "$pid"
  # shellcheck disable=SC2016  # expanded by the inner shell
  until_true 90 "dockerd to end" bash -c '! kill -0 "$0"' "$pid"
  rm -f "$PID_FILE"
}

# Two scripts that start it at once would start two.
exec 9>"$MOORING_CACHE/cluster/engine.lock"
flock 9
case "${1:-}" in
start | stop) "$1" ;;
*) die "usage: engine.sh start|stop" ;;
esac
