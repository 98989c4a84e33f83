#!/usr/bin/env bash
# Prints the name of a node image for kind that the engine has: kind's own, pulled, or one that is built here where nothing can be
# pulled or the machine needs one of its own.
#
#   NODE_IMAGE   the image to be pulled instead of kind's own, say from a mirror
#
# usage: node-image.sh
source "$(dirname "$0")/lib.sh"

have() { docker image inspect "$1" >/dev/null 2>&1; }

STEPS=1
if [[ -n "${NODE_IMAGE:-}" ]]; then
  step "node image $NODE_IMAGE, named by NODE_IMAGE"
  have "$NODE_IMAGE" || run_long node-pull docker pull "$NODE_IMAGE"
  echo "$NODE_IMAGE"
elif [[ "$(docker info --format '{{.DefaultRuntime}}')" == "$WRAPPED_RUNTIME" ]]; then
  step "node image: built here, since kind's own does not start where root lacks CAP_SYS_RESOURCE"
  "$CLUSTER_DIR/offline/node-image.sh"
elif have "$KIND_NODE_IMAGE"; then
  step "node image: kind's own, which is here already"
  echo "$KIND_NODE_IMAGE"
elif [[ -n "$(docker image ls --quiet mooring.dev/kind-node)" ]]; then
  step "node image: built here, since none could be pulled the last time (docker image rm mooring.dev/kind-node:... forgets that)"
  "$CLUSTER_DIR/offline/node-image.sh"
else
  step "node image $KIND_NODE_IMAGE: pulling it"
  # Only the engine knows whether it can: mirrors and proxies are told to it, and not to docker's own commands.
  if (run_long node-pull timeout 900 docker pull "$KIND_NODE_IMAGE"); then
    echo "$KIND_NODE_IMAGE"
  else
    note "it can't be pulled, so it is built here, in some 20 minutes. Is there a mirror? Then name it: NODE_IMAGE=mirror.example.com/${KIND_NODE_IMAGE%@*}"
    "$CLUSTER_DIR/offline/node-image.sh"
  fi
fi
