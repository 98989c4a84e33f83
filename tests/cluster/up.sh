#!/usr/bin/env bash
# Brings up the kind cluster `mooring`: a control plane and two workers, storage, DNS, and 127.0.0.1:8000 to NodePort 30080.
# A healthy one that is there already is kept. Its kubeconfig is $MOORING_CACHE/cluster/kubeconfig.
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

step "tools (cached in $MOORING_CACHE)"
"$CLUSTER_DIR/tools.sh" packages kind kubernetes

step "Docker engine"
"$CLUSTER_DIR/engine.sh" start

if healthy >/dev/null 2>&1; then
  STEP=$((STEPS - 1))
  step "cluster $CLUSTER_NAME is up and healthy: kept"
  exit
fi

step "node image"
image="$("$CLUSTER_DIR/node-image.sh")"
note "$image"

step "cluster $CLUSTER_NAME: a control plane and two workers (1 to 3 minutes)"
kind delete cluster --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG" 2>/dev/null
# The paths in kind.yaml are relative to it.
(cd "$CLUSTER_DIR" && run_long kind-create \
  kind create cluster --name "$CLUSTER_NAME" --config kind.yaml --image "$image" --kubeconfig "$KUBECONFIG")

[[ "${1:-}" == --no-wait ]] || "$CLUSTER_DIR/ready.sh"
note "export KUBECONFIG=$KUBECONFIG"
