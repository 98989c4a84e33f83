#!/usr/bin/env bash
# Makes an image of this machine's redis-server, for clusters that can't pull one, and prints its name:
# mooring.dev/redis:VERSION, with the version that it really is.
#
# usage: redis.sh
source "$(dirname "$0")/../tests/cluster/lib.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"
PROGRAMS=(/usr/bin/redis-server /usr/bin/redis-cli)

STEPS=1
for program in "${PROGRAMS[@]}"; do
  need "$program" "run tests/cluster/tools.sh packages"
done
image="mooring.dev/redis:$(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')"
step "image $image from Debian's redis-server"

context="$(mktemp --directory)"
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/rootfs/data"
chmod 1777 "$context/rootfs/data"
mapfile -t libraries < <(ldd "${PROGRAMS[@]}" | grep --only-matching '/[^ :]*\.so[^ :]*' | sort -u)
cp --parents --dereference "${PROGRAMS[@]}" "${libraries[@]}" "$context/rootfs"
run_long image-redis docker build --tag "$image" --file "$IMAGES/redis/Dockerfile" "$context"
echo "$image"
