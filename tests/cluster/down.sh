#!/usr/bin/env bash
# Deletes the kind cluster $MOORING_CLUSTER (`mooring` when unset) and stops the engine if it was started here and nobody else uses
# it. What was built stays in the cache.
#
# usage: down.sh
source "$(dirname "$0")/lib.sh"
export KUBECONFIG="$STATE/kubeconfig" # never the user's own

STEPS=2

step "cluster $CLUSTER_NAME: deleting"
if answer="$(docker info 2>&1)"; then
  kind delete cluster --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
elif [[ "$answer" == *'permission denied'* ]]; then
  die "the Docker engine does not let you in, and the cluster stays: run this as a user in the group docker, or as root"
else
  note "no engine runs, so no cluster does"
fi
rm -f "$KUBECONFIG"

step "Docker engine"
"$CLUSTER_DIR/engine.sh" stop
