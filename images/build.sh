#!/usr/bin/env bash
# Builds our images, mooring.dev/NAME:dev: a static binary each, nothing else.
#
# usage: build.sh NAME...      names: gateway operator fleet
source "$(dirname "$0")/../tests/cluster/lib.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"

(($#)) || die "usage: build.sh NAME..., with names of gateway, operator, fleet"
directory="$("$IMAGES/binaries.sh" "$@")"

STEPS=$#
context="$(mktemp --directory)"
trap 'rm -rf "$context"' EXIT
for name in "$@"; do
  step "image mooring.dev/$name:dev"
  cp "$directory/mooring-$name" "$context"
  run_long "image-$name" docker build --tag "mooring.dev/$name:dev" --file "$IMAGES/$name/Dockerfile" "$context"
done
