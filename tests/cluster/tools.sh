#!/usr/bin/env bash
# Brings what is asked for and not there yet. A program of the user's own is used where its version fits; otherwise it is put
# into $MOORING_CACHE/tools/NAME-VERSION with a link in $MOORING_CACHE/bin: as its project releases it, or built from its Go module
# where no release can be had.
#
# usage: tools.sh run     what `make up` needs
#        tools.sh test    what the tests need, and what `make up` does
#        tools.sh NAME... of build, engine, kind, kubectl, helm, apiserver, kubeconform, nextest, test-packages
source "$(dirname "$0")/lib.sh"
source "$CLUSTER_DIR/releases.sh"

RUN=(build engine kind kubectl helm)
TEST=("${RUN[@]}" apiserver kubeconform nextest test-packages)
ARCHITECTURE="$(architecture)"

# at_least VERSION MINIMUM
at_least() { [[ "$(printf '%s\n' "$2" "$1" | sort --version-sort | head -n 1)" == "$2" ]]; }

# own PROGRAM MINIMUM VERSION_COMMAND...: whether the user has that program in a version that fits; then no other stands before it.
own() {
  local program="$1" minimum="$2" path version
  shift 2
  path="$(PATH="${PATH//"$MOORING_CACHE/bin:"/}" command -v "$program")" || return
  version="$("$path" "$@" 2>/dev/null | sed -nE '1s/^[^0-9]*([0-9]+(\.[0-9]+)+).*/\1/p')"
  if ! at_least "${version:-0}" "$minimum"; then
    note "$path is ${version:-of no known version}, and $minimum or later is needed: it is left alone"
    return 1
  fi
  note "$path, which is $version"
  rm -f "$MOORING_CACHE/bin/$program"
}

# link FILE: on the PATH.
link() { ln -sfn "$1" "$MOORING_CACHE/bin/${1##*/}"; }

install_build() {
  step "what builds the images: Rust, and a C compiler and the like from Debian"
  need cargo "install Rust by rustup (https://rustup.rs); rust-toolchain.toml names the version"
  install_packages ca-certificates curl gcc jq libc6-dev make
}

install_engine() {
  step "a Docker engine"
  if docker info >/dev/null 2>&1 || command -v dockerd >/dev/null; then return; fi
  install_packages docker.io iptables
}

install_test-packages() {
  step "Debian packages that only tests use: a browser, a Redis, a registry, valgrind, ..."
  install_packages chromium docker-registry g++ openssl prometheus python3-venv redis-server shellcheck valgrind
}

install_kind() {
  local file="$TOOLS/kind-$KIND_VERSION/kind" url="$KIND_RELEASES/v$KIND_VERSION/kind-linux-$ARCHITECTURE"
  step "kind $KIND_VERSION"
  # A node image is made for one version of kind; later ones take it too.
  if own kind "$KIND_VERSION" --version; then return; fi
  if [[ ! -x "$file" ]]; then
    if reachable "$url"; then
      download "$url" "$url.sha256sum" "$file"
    else
      go_tool kind "$KIND_VERSION" sigs.k8s.io/kind
    fi
  fi
  link "$file"
}

install_kubectl() {
  local minimum
  step "kubectl $KUBERNETES_VERSION"
  # As far behind the cluster as Kubernetes allows. Who brings a cluster of their own has a kubectl that goes with it.
  minimum="1.$(($(cut -d . -f 2 <<<"$KUBERNETES_VERSION") - 1))"
  [[ "${CLUSTER:-kind}" == kind ]] || minimum=1.28
  if own kubectl "$minimum" version --client; then return; fi
  kubernetes_program kubectl
  link "$KUBERNETES/kubectl"
}

install_helm() {
  local file="$TOOLS/helm-$HELM_VERSION/helm" url="$HELM_RELEASES/helm-v$HELM_VERSION-linux-$ARCHITECTURE.tar.gz"
  step "Helm $HELM_VERSION"
  if own helm 4.0 version --short; then return; fi
  if [[ ! -x "$file" ]]; then
    if reachable "$url"; then
      download "$url" "$url.sha256sum" "$file" "linux-$ARCHITECTURE/helm"
    else
      note "its Go module takes 4 minutes to build"
      go_tool helm "$HELM_VERSION" helm.sh/helm/v4/cmd/helm
    fi
  fi
  link "$file"
}

# For the tests that need an API server without nodes.
install_apiserver() {
  local place="$ETCD_RELEASES/v$ETCD_VERSION" name="etcd-v$ETCD_VERSION-linux-$ARCHITECTURE"
  step "kube-apiserver $KUBERNETES_VERSION and etcd $ETCD_VERSION"
  kubernetes_program kube-apiserver
  if [[ ! -x "$KUBERNETES/etcd" ]]; then
    if reachable "$place/$name.tar.gz"; then
      download "$place/$name.tar.gz" "$place/SHA256SUMS" "$KUBERNETES/etcd" "$name/etcd"
    else
      "$CLUSTER_DIR/offline/kubernetes.sh"
    fi
  fi
}

kubernetes_program() {
  local url="$KUBERNETES_RELEASES/v$KUBERNETES_VERSION/bin/linux/$ARCHITECTURE/$1"
  if [[ -x "$KUBERNETES/$1" ]]; then return; fi
  if reachable "$url"; then
    download "$url" "$url.sha256" "$KUBERNETES/$1"
  else
    "$CLUSTER_DIR/offline/kubernetes.sh"
  fi
}

install_kubeconform() {
  step "kubeconform $KUBECONFORM_VERSION"
  go_tool kubeconform "$KUBECONFORM_VERSION" github.com/yannh/kubeconform/cmd/kubeconform
  link "$TOOLS/kubeconform-$KUBECONFORM_VERSION/kubeconform"
}

install_nextest() {
  step "cargo-nextest $CARGO_NEXTEST_VERSION"
  cargo_tool cargo-nextest "$CARGO_NEXTEST_VERSION" --no-default-features
}

case "${1:-}" in
run) set -- "${RUN[@]}" ;;
test) set -- "${TEST[@]}" ;;
esac
(($#)) || die "usage: tools.sh run | test | NAME..., with names of ${TEST[*]}"
for name in "$@"; do
  [[ " ${TEST[*]} " == *" $name "* ]] || die "no tool called '$name'; there are: ${TEST[*]}"
done
STEPS=$#
# Two runs at once would write the same files.
exec 9>"$MOORING_CACHE/tools.lock"
# A program that has just ended may have left a second's sleep with the lock.
flock --timeout 3 9 || { note "another run brings tools: waiting for it" && flock 9; }
for name in "$@"; do
  "install_$name"
done
