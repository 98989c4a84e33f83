#!/usr/bin/env bash
# Builds the node image for kind out of Debian's packages and Go modules, once, and prints its name, which holds a hash of what it
# is made of.
#
# usage: node-image.sh
source "$(dirname "$0")/../lib.sh"
source "$(dirname "$0")/versions.sh"

NODE="$CLUSTER_DIR/offline/node"
STEPS=5

have() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
  local image="$1" context="$MOORING_CACHE/node-image" base
  base="mooring.dev/kind-base:$(sha256sum "$NODE/base.sh" | cut -c 1-12)"
  need go "install Go 1.26 or later"
  step "node image's base: a minimal Debian (2 minutes the first time; cached)"
  if ! have "$base"; then
    install_packages debootstrap
    run_long node-base "$NODE/base.sh" "$base"
  fi
  step "Kubernetes, CoreDNS $COREDNS_VERSION and local-path-provisioner $LOCAL_PATH_VERSION"
  "$CLUSTER_DIR/offline/kubernetes.sh"
  note "the other two from their Go modules (3 minutes each the first time; cached)"
  go_tool coredns "$COREDNS_VERSION" github.com/coredns/coredns
  go_tool local-path-provisioner "$LOCAL_PATH_VERSION" github.com/rancher/local-path-provisioner
  step "node image's files and the images inside it"
  run_long node-assemble "$NODE/assemble.sh" "$base" "$context"
  step "node image $image"
  run_long node-image docker build --build-arg "BASE=$base" --tag "$image" --file "$NODE/Dockerfile" "$context"
  rm -rf "$context"
  step "older node images: removed, unless a cluster runs on them"
  docker image ls --quiet --filter "before=$image" mooring.dev/kind-node | sort -u | xargs --no-run-if-empty docker image rm \
    >/dev/null 2>&1 || true
}

# Everything that is part of the image, and the versions of what is built for it.
ingredients() {
  echo "$KUBERNETES_VERSION $ETCD_VERSION $KIND_VERSION"
  cd "$CLUSTER_DIR/offline"
  find kubernetes node runc versions.sh -type f -print0 | sort --zero-terminated | xargs --null sha256sum
}

key="$(ingredients | sha256sum | cut -c 1-12)"
image="mooring.dev/kind-node:v$KUBERNETES_VERSION-$key"
if ! have "$image"; then
  build "$image" >&2
fi
echo "$image"
