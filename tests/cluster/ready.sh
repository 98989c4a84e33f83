#!/usr/bin/env bash
# Waits until every node of the kind cluster is Ready, and DNS and storage are there.
#
# usage: ready.sh
source "$(dirname "$0")/lib.sh"
export KUBECONFIG="$STATE/kubeconfig" # never the user's own

STEPS=1
step "nodes, DNS and storage"
kubectl wait --for=condition=Ready nodes --all --timeout=180s >&2
for deployment in kube-system/coredns local-path-storage/local-path-provisioner; do
  kubectl --namespace "${deployment%/*}" rollout status "deployment/${deployment#*/}" --timeout=180s >&2
done
