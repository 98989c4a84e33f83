#!/usr/bin/env bash
# Puts images from the engine into every node of the cluster, where pods that name them start without a pull.
#
# usage: load.sh IMAGE...
source "$(dirname "$0")/lib.sh"

(($#)) || die "usage: load.sh IMAGE..."
STEPS=1
step "loading into $CLUSTER_NAME: $*"
archive="$(mktemp --suffix .tar)"
trap 'rm -f "$archive"' EXIT
docker save --output "$archive" "$@"
run_long kind-load kind load image-archive --name "$CLUSTER_NAME" "$archive"
