#!/usr/bin/env bash
# Makes an image of a program of this machine's Debian, for clusters that can't pull one, and prints its name:
# mooring.dev/NAME:VERSION, with the version that it really is.
#
# usage: debian.sh redis|registry
source "$(dirname "$0")/../../lib.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"
NAME="${1:-}"
case "$NAME" in
redis) PACKAGE=redis-server PROGRAMS=(/usr/bin/redis-server /usr/bin/redis-cli) ;;
registry) PACKAGE=docker-registry PROGRAMS=(/usr/bin/docker-registry) ;;
*) die "usage: debian.sh redis|registry" ;;
esac

STEPS=1
install_packages "$PACKAGE"
# The first dotted number: Redis server v=7.0.15 ..., docker-registry ... 2.8.2+ds1
version="$("${PROGRAMS[0]}" --version | sed -nE '1s/^[^0-9]*([0-9]+(\.[0-9]+)+).*/\1/p')"
image="mooring.dev/$NAME:$version"
step "image $image from Debian's $PACKAGE"

context="$(mktemp --directory)"
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/rootfs/data"
chmod 1777 "$context/rootfs/data"
mapfile -t libraries < <(ldd "${PROGRAMS[@]}" | grep --only-matching '/[^ :]*\.so[^ :]*' | sort -u)
cp --parents --dereference "${PROGRAMS[@]}" "${libraries[@]}" "$context/rootfs"
cp --recursive "$IMAGES/$NAME/." "$context"
run_long "image-$NAME" docker build --tag "$image" "$context"
echo "$image"
