#!/usr/bin/env bash
# Pushes the images that build.sh made, and prints for each a line of its name and where it is now, by digest.
#
# usage: push.sh REGISTRY TAG NAME...      REGISTRY: what stands before the names, say example.com/mooring
source "$(dirname "$0")/../tests/cluster/lib.sh"

(($# > 2)) || die "usage: push.sh REGISTRY TAG NAME..."
REGISTRY="$1" TAG="$2"
shift 2
STEPS=$#
for name in "$@"; do
  repository="$REGISTRY/$name"
  step "$repository:$TAG"
  docker tag "mooring.dev/$name:dev" "$repository:$TAG"
  run_long "push-$name" docker push "$repository:$TAG"
  digests="$(docker image inspect --format '{{join .RepoDigests "\n"}}' "$repository:$TAG")"
  # Docker leaves its own registry's name out. Names of other registries may end in this one's.
  digest="$(awk -F @ -v repository="${repository#docker.io/}" '$1 == repository { print $2; exit }' <<<"$digests")"
  [[ -n "$digest" ]] || die "Docker knows no digest of $repository:$TAG: $digests"
  printf '%s\t%s\n' "$name" "$repository@$digest"
done
