#!/usr/bin/env bash
# Prints the name of a node image for kind that the engine has. Where kind's own can be pulled, it is that one. Where
# nothing can be pulled, it is built from Debian's packages and Go modules, once: its name holds a hash of what it is made of.
source "$(dirname "$0")/lib.sh"

STEPS=6

kinds_own_image() {
  sed -n 's/^const Image = "\(.*\)"$/\1/p' "$(module_dir "sigs.k8s.io/kind@v$KIND_VERSION")/pkg/apis/config/defaults/image.go"
}

have() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
  local image="$1" context="$MOORING_CACHE/node-image" base
  base="mooring.dev/kind-base:$(sha256sum "$CLUSTER_DIR/offline/node/base.sh" | cut -c 1-12)"
  step "node image's base: a minimal Debian (2 minutes the first time; cached)"
  have "$base" || run_long node-base "$CLUSTER_DIR/offline/node/base.sh" "$base"
  step "CoreDNS $COREDNS_VERSION from its Go module (3 minutes the first time; cached)"
  go_tool coredns "$COREDNS_VERSION" github.com/coredns/coredns
  step "local-path-provisioner $LOCAL_PATH_VERSION from its Go module (3 minutes the first time; cached)"
  go_tool local-path-provisioner "$LOCAL_PATH_VERSION" github.com/rancher/local-path-provisioner
  step "node image's files and the images inside it"
  run_long node-assemble "$CLUSTER_DIR/offline/node/assemble.sh" "$base" "$context"
  step "node image $image"
  run_long node-image docker build --build-arg "BASE=$base" --tag "$image" --file "$CLUSTER_DIR/offline/node/Dockerfile" "$context"
  rm -rf "$context"
  # Older ones; one that a cluster still runs on stays.
  docker image ls --quiet --filter "before=$image" mooring.dev/kind-node | sort -u | xargs --no-run-if-empty docker image rm \
    >/dev/null 2>&1 || true
}

own="$(kinds_own_image)"
# Everything that is part of the image, and the versions of what is built for it.
key="$(cd "$CLUSTER_DIR" && find versions.sh offline/{kubernetes,node,runc} -type f -print0 | sort -z | xargs -0 sha256sum |
  sha256sum | cut -c 1-12)"
built="mooring.dev/kind-node:v$KUBERNETES_VERSION-$key"

if have "$own"; then
  echo "$own"
elif have "$built"; then
  echo "$built"
else
  step "node image: can $own be pulled?"
  if timeout 20 docker manifest inspect "$own" >/dev/null 2>&1; then
    run_long node-pull docker pull "$own"
    echo "$own"
  else
    note "no: it is built here"
    build "$built" >&2
    echo "$built"
  fi
fi
