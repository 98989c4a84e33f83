#!/usr/bin/env bash
# Gathers the licences of all that is linked into a binary: a list, and for each crate the texts it comes with.
#
# usage: licences.sh NAME DIRECTORY      names: gateway operator fleet
source "$(dirname "$0")/../tests/cluster/lib.sh"

(($# == 2)) || die "usage: licences.sh NAME DIRECTORY"
NAME="$1" DIRECTORY="$2"
TEXTS=(-iname 'LICEN[CS]E*' -o -iname 'COPYING*' -o -iname 'COPYRIGHT*' -o -iname 'NOTICE*' -o -iname 'UNLICENSE*')

# texts FROM TO: one level below as well, where crates keep the licence of a C library they carry, be it of the same name.
texts() {
  mkdir -p "$DIRECTORY/$2"
  find "$1" -maxdepth 2 -type f \( "${TEXTS[@]}" \) -exec cp --backup=numbered --no-preserve=mode --target-directory "$DIRECTORY/$2" {} +
}

cd "$(dirname "$0")/.."
mkdir -p "$DIRECTORY"
cp LICENSE "$DIRECTORY/"
tree="$(cargo tree --locked --quiet --package "mooring-$NAME" --target "$(rust_target)" --edges normal,no-proc-macro \
  --prefix none --format '{p}')"
declare -A linked
while read -r crate version _; do
  linked["$crate ${version#v}"]=true
done <<<"$tree"

crates="$(cargo metadata --quiet --locked --format-version 1 --filter-platform "$(rust_target)" | jq --raw-output '
  .packages[] | select(.source) | [.name, .version, .license // "see its files", .manifest_path] | @tsv')"
while IFS=$'\t' read -r crate version licence manifest; do
  [[ -n "${linked["$crate $version"]:-}" ]] || continue
  printf '%s\t%s\t%s\n' "$crate" "$version" "$licence" >>"$DIRECTORY/third-party.tsv"
  texts "$(dirname "$manifest")" "$crate-$version"
done <<<"$crates"

# Rust's standard library and the C library are in it, too.
rust="$(rustc --version | cut -d ' ' -f 2)" glibc="$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)"
printf 'rust\t%s\tMIT OR Apache-2.0\nglibc\t%s\tLGPL-2.1-or-later\n' "$rust" "$glibc" >>"$DIRECTORY/third-party.tsv"
texts="$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html"
[[ ! -f "$texts" ]] || cp "$texts" "$DIRECTORY/rust.html"
[[ ! -f /usr/share/doc/libc6-dev/copyright ]] || cp --dereference /usr/share/doc/libc6-dev/copyright "$DIRECTORY/glibc.txt"
