#!/usr/bin/env bash
# Builds our images, mooring.dev/NAME:dev: a static binary each, nothing else.
#
#   MOORING_PROFILE   cargo profile of the binaries, `release` when unset
#
# usage: build.sh NAME...      names: gateway operator fleet
source "$(dirname "$0")/../tests/cluster/lib.sh"

IMAGES="$(cd "$(dirname "$0")" && pwd)"
TARGET=x86_64-unknown-linux-gnu
PROFILE="${MOORING_PROFILE:-release}"

(($#)) || die "usage: build.sh NAME..., with names of gateway, operator, fleet"
packages=()
for name in "$@"; do
  [[ -f "$IMAGES/$name/Dockerfile" ]] || die "no image called '$name'; there are: gateway operator fleet"
  packages+=(--package "mooring-$name")
done
need cargo "install Rust by rustup; rust-toolchain.toml names the version"
need jq "run tests/cluster/tools.sh packages"

STEPS=$((1 + $#))
cd "$IMAGES/.."
step "static binaries: $*, profile $PROFILE (some minutes the first time)"
# With --target, the flag does not reach build scripts and procedural macros, which have to stay dynamic.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" run_long build-binaries \
  cargo build --locked --profile "$PROFILE" --target "$TARGET" "${packages[@]}" --bins
directory="$(cargo metadata --no-deps --format-version 1 | jq --raw-output .target_directory)/$TARGET/${PROFILE/#dev/debug}"

context="$(mktemp --directory)"
trap 'rm -rf "$context"' EXIT
for name in "$@"; do
  step "image mooring.dev/$name:dev"
  cp "$directory/mooring-$name" "$context"
  run_long "image-$name" docker build --tag "mooring.dev/$name:dev" --file "$IMAGES/$name/Dockerfile" "$context"
done
