#!/usr/bin/env bash
# Builds our images, mooring.dev/NAME:dev, for this machine's architecture: a static binary each, and the licences of what is in it.
#
# usage: build.sh NAME...      names: gateway operator fleet
source "$(dirname "$0")/../tests/cluster/lib.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"

(($#)) || die "usage: build.sh NAME..., with names of gateway, operator, fleet"
need docker "run tests/cluster/tools.sh engine"
engine="$(docker version --format '{{.Server.Arch}}')"
[[ "$engine" == "$(architecture)" ]] || die "this machine is $(architecture), and its Docker engine is $engine (DOCKER_HOST is \
'${DOCKER_HOST:-}'): use an engine of the same architecture"
directory="$("$IMAGES/binaries.sh" "$@")"

STEPS=$#
cd "$IMAGES/.."
IFS=$'\t' read -r version licence source < <(cargo metadata --no-deps --format-version 1 |
  jq --raw-output '.packages[] | select(.name == "mooring-gateway") | [.version, .license, .repository] | @tsv')
revision="$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)"
labels=(--label "org.opencontainers.image.source=$source" --label "org.opencontainers.image.version=$version"
  --label "org.opencontainers.image.licenses=$licence" --label "org.opencontainers.image.revision=$revision")
work="$(mktemp --directory)"
trap 'rm -rf "$work"' EXIT
for name in "$@"; do
  step "image mooring.dev/$name:dev"
  context="$work/$name"
  mkdir "$context"
  cp "$directory/mooring-$name" "$context"
  "$IMAGES/licences.sh" "$name" "$context/licences"
  run_long "image-$name" docker build --tag "mooring.dev/$name:dev" "${labels[@]}" \
    --label "org.opencontainers.image.title=mooring-$name" --file "$IMAGES/$name/Dockerfile" "$context"
done
