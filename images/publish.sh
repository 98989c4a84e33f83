#!/usr/bin/env bash
# Builds the images of the gateway and the operator, pushes them, and prints the command that installs Mooring from them by digest.
#
#   REGISTRY      where to: what stands before the images' names, say example.com/mooring
#   TAG           the project's version when unset
#   REDIS_IMAGE   the managed Redis's, for clusters that can't pull the chart's default
source "$(dirname "$0")/../tests/cluster/lib.sh"
source "$(dirname "$0")/chart.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"
STEPS=3

[[ -n "${REGISTRY:-}" ]] || die "REGISTRY is not set: name a registry that your nodes pull from, as REGISTRY=example.com/mooring"
cd "$IMAGES/.."
step "what the build needs"
"$CLUSTER_DIR/tools.sh" build engine
use_engine
step "images"
"$IMAGES/build.sh" operator gateway
version="$(cargo metadata --no-deps --format-version 1 | jq --raw-output '.packages[] | select(.name == "mooring-operator") | .version')"
step "into $REGISTRY"
pushed="$("$IMAGES/push.sh" "$REGISTRY" "${TAG:-$version}" operator gateway)"

flags=()
while IFS=$'\t' read -r name image; do
  case "$name" in
  operator) key=image ;;
  gateway) key=defaults.gateway.image ;;
  esac
  mapfile -t -O "${#flags[@]}" flags < <(chart_image "$key" "$image")
done <<<"$pushed"
[[ -z "${REDIS_IMAGE:-}" ]] || mapfile -t -O "${#flags[@]}" flags < <(chart_image defaults.redis.image "$REDIS_IMAGE")
note "this installs Mooring from them:"
{
  # Values of an earlier installation that these flags do not name stay as they are.
  echo 'helm upgrade --install mooring charts/mooring --namespace mooring-system --create-namespace --reset-then-reuse-values --wait'
  printf '  %s\n' "${flags[@]}"
} | sed '$!s/$/ \\/'
