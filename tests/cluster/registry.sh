#!/usr/bin/env bash
# A registry for CLUSTER=current to be tried with the kind cluster: the engine pushes to localhost:5000, and under that name
# the nodes pull from it.
#
# usage: registry.sh start|stop
source "$(dirname "$0")/lib.sh"

NAME=mooring-registry
PORT=5000

start() {
  local image nodes node
  STEPS=3
  step "an image of Debian's docker-registry"
  image="$("$CLUSTER_DIR/offline/images/debian.sh" registry)"

  step "registry localhost:$PORT"
  docker rm --force --volumes "$NAME" >/dev/null 2>&1 || true
  docker run --detach --name "$NAME" --network kind --publish "127.0.0.1:$PORT:5000" "$image" >/dev/null
  until_true 30 "the registry to answer" curl --fail --silent --max-time 5 "http://localhost:$PORT/v2/"

  step "the nodes of $CLUSTER_NAME pull localhost:$PORT from it"
  nodes="$(kind get nodes --name "$CLUSTER_NAME")"
  while read -r node; do
    docker exec --interactive "$node" sh -c "mkdir -p /etc/containerd/certs.d/localhost:$PORT &&
      cat >/etc/containerd/certs.d/localhost:$PORT/hosts.toml" <<<"[host.\"http://$NAME:5000\"]"
  done <<<"$nodes"
}

stop() {
  STEPS=1
  step "registry localhost:$PORT: removing"
  docker rm --force --volumes "$NAME" >/dev/null
}

case "${1:-}" in
start | stop) "$1" ;;
*) die "usage: registry.sh start|stop" ;;
esac
