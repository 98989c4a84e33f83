#!/usr/bin/env bash
# Brings up a kind cluster: a control plane and two workers, storage, DNS, and a port of 127.0.0.1 to NodePort 30080. A healthy
# one that is there already is kept. Its kubeconfig is $MOORING_CACHE/cluster/NAME/kubeconfig.
#
#   MOORING_CLUSTER=mooring   its name
#   MOORING_PORT=8000         the port
#
# usage: up.sh [--no-wait]      without waiting for what ready.sh waits for
source "$(dirname "$0")/lib.sh"
export KUBECONFIG="$STATE/kubeconfig" # never the user's own

STEPS=4

# Every node that kind.yaml asks for is Ready, and DNS answers.
healthy() {
  [[ -s "$KUBECONFIG" ]] &&
    kubectl --request-timeout=5s wait --for=condition=Ready nodes --all --timeout=5s &&
    kubectl --request-timeout=5s wait --for=condition=Available --namespace kube-system deployment/coredns --timeout=5s
}

# Each node's programs watch files, and the kernel allows root, whose they all are, 128 watchers unless told otherwise.
allow_watches() {
  local limit=/proc/sys/fs/inotify/max_user_instances
  (($(<"$limit") >= 1024)) || echo 1024 2>/dev/null >"$limit" ||
    note "fs.inotify.max_user_instances is $(<"$limit"), which may be too few for a second cluster; 1024 are enough"
}

# create IMAGE: leaves the nodes' logs where that fails, and no nodes.
create() {
  local logs="$MOORING_CACHE/log/kind-nodes" status=0
  # kind takes relative paths from where it runs.
  (cd "$CLUSTER_DIR" &&
    kind create cluster --name "$CLUSTER_NAME" --config "$STATE/kind.yaml" --image "$1" --kubeconfig "$KUBECONFIG" --retain) || status=$?
  if ((status != 0)); then
    rm -rf "$logs"
    kind export logs --name "$CLUSTER_NAME" "$logs"
    kind delete cluster --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
    printf "the nodes' logs are in %s\n" "$logs"
  fi
  return "$status"
}

# What the engine's machine does not have becomes an empty directory in the nodes, and no API server starts.
engine_sees_checkout() {
  docker run --rm --network none --entrypoint cat --volume "$CLUSTER_DIR/audit-policy.yaml:/policy:ro" "$1" /policy |
    cmp --silent - "$CLUSTER_DIR/audit-policy.yaml"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$CLUSTER_PORT") 2>/dev/null; }

step "tools (cached in $MOORING_CACHE)"
"$CLUSTER_DIR/tools.sh" engine kind kubectl

step "Docker engine"
use_engine

# Another one that makes the same cluster would remove it half-made.
exec 7>"$STATE/up.lock"
flock --nonblock 7 || { note "another run makes this cluster: waiting for it" && flock 7; }

if healthy >/dev/null 2>&1; then
  port="$(docker port "$CLUSTER_NAME-control-plane" 30080/tcp | sed 's/.*://')"
  [[ "$port" == "$CLUSTER_PORT" ]] || die "cluster $CLUSTER_NAME is up at port $port, and MOORING_PORT is $CLUSTER_PORT: name that \
port, or remove the cluster by tests/cluster/down.sh"
  STEP=$((STEPS - 1))
  step "cluster $CLUSTER_NAME is up and healthy: kept"
  exit
fi

step "node image"
image="$("$CLUSTER_DIR/node-image.sh")"
note "$image"

step "cluster $CLUSTER_NAME: a control plane and two workers (1 to 3 minutes)"
run_long kind-delete kind delete cluster --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
! port_is_taken || die "something listens on port $CLUSTER_PORT of 127.0.0.1: end it, or name another one, as MOORING_PORT=8011"
engine_sees_checkout "$image" || die "the Docker engine does not see $CLUSTER_DIR: does it run on another machine, or in another root? \
Run this where it runs"
allow_watches
"$CLUSTER_DIR/kind-config.sh" "$image" >"$STATE/kind.yaml"
run_long kind-create create "$image"

[[ "${1:-}" == --no-wait ]] || "$CLUSTER_DIR/ready.sh"
note "export KUBECONFIG=$KUBECONFIG"
