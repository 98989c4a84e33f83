#!/usr/bin/env bash
# Builds static binaries for this machine's architecture, as they ship, and prints the directory that holds them, each called
# mooring-NAME. Whatever tests or measures a binary takes it from here.
#
# usage: binaries.sh NAME...      names: gateway operator fleet
source "$(dirname "$0")/../tests/cluster/lib.sh"

(($#)) || die "usage: binaries.sh NAME..., with names of gateway, operator, fleet"
for name in "$@"; do
  [[ "$name" == @(gateway|operator|fleet) ]] || die "no binary called '$name'; there are: gateway operator fleet"
done
need cargo "install Rust by rustup; rust-toolchain.toml names the version"
need jq "run tests/cluster/tools.sh build"
target="$(rust_target)"
# jemalloc takes pages as large as the machine's that built it, or smaller: arm64 kernels have 4, 16 or 64 KiB.
[[ "$target" != aarch64-* ]] || export JEMALLOC_SYS_WITH_LG_PAGE=16

STEPS=$#
cd "$(dirname "$0")/.."
# With --target, the flag does not reach build scripts and procedural macros, which have to stay dynamic.
export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
# One by one: built together, each would have the features that the others ask of the crates they share, and differ by who asks.
for name in "$@"; do
  step "static binary mooring-$name (some minutes the first time)"
  # Only the gateway's instructions count.
  quick=()
  [[ "$name" == gateway ]] || quick=("${QUICK_RELEASE[@]}")
  run_long "binary-$name" env "${quick[@]}" cargo build --locked --release --target "$target" --package "mooring-$name" --bins
done
directory="$(cargo metadata --no-deps --format-version 1 | jq --raw-output .target_directory)"
echo "$directory/$target/release"
