#!/usr/bin/env bash
# Builds the kube-apiserver of any version of Kubernetes from its Go module: $TOOLS/kubernetes-VERSION/kube-apiserver.
#
# usage: apiserver.sh VERSION
source "$(dirname "$0")/../lib.sh"

(($# == 1)) || die "usage: apiserver.sh VERSION, say $KUBERNETES_VERSION"
version="$1" directory="$TOOLS/kubernetes-$1" flags=k8s.io/component-base/version
need go "install Go 1.26 or later"
STEPS=1
step "kube-apiserver $version from its Go module (4-8 minutes)"
source="$(module_dir "k8s.io/kubernetes@v$version")"
mkdir -p "$directory"
modules="$(mktemp --directory)"
trap 'rm -rf "$modules"' EXIT
# The module is the main one, where Go keeps it, with a go.mod of ours: the parts that it expects in its own tree are published with
# the same minor and patch version. Go checks them against its database of sums.
sed -E "s,=> \./staging/src/(.+)$,=> \1 v0.${version#1.}," "$source/go.mod" >"$modules/go.mod"
cp --no-preserve=mode "$source/go.sum" "$modules/go.sum"
CGO_ENABLED=0 GOWORK=off run_long "build-kube-apiserver-$version" \
  go build -C "$source" -v -mod=mod -modfile="$modules/go.mod" -buildvcs=false -trimpath -o "$directory/kube-apiserver" -ldflags "-s -w
    -X $flags.gitVersion=v$version -X $flags.gitTreeState=clean
    -X $flags.gitMajor=1 -X $flags.gitMinor=$(cut -d. -f2 <<<"$version")" ./cmd/kube-apiserver
