#!/usr/bin/env bash
# Deletes the kind cluster $MOORING_CLUSTER (`mooring` when unset) and stops the engine if it was started here and nobody else uses
# it. What was built stays in the cache.
#
# usage: down.sh
source "$(dirname "$0")/lib.sh"
export KUBECONFIG="$STATE/kubeconfig" # never the user's own

STEPS=2

step "cluster $CLUSTER_NAME: deleting"
if docker info >/dev/null 2>&1; then
  kind delete cluster --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
else
  note "no engine runs, so no cluster does"
fi
rm -f "$KUBECONFIG"

step "Docker engine"
"$CLUSTER_DIR/engine.sh" stop
