#!/usr/bin/env bash
# Installs what a fresh machine needs to run the cluster and the tests: Debian's packages, and Go programs that are built
# from their modules into $MOORING_CACHE/tools/NAME-VERSION, with a link to each in $MOORING_CACHE/bin.
#
# usage: tools.sh [packages|kind|helm|kubeconform|kubernetes]...      all of them when none is named
source "$(dirname "$0")/lib.sh"

# What the tests start by themselves: a Redis, a browser for the chat page, a suite of PyPI, a fuzzer in C++. The rest makes images.
PACKAGES=(ca-certificates chromium curl debootstrap g++ gcc jq libc6-dev openssl python3-venv redis-server shellcheck)

install_packages() {
  local missing=()
  step "Debian packages: ${PACKAGES[*]}, and an engine where there is none"
  if ! command -v dpkg-query >/dev/null; then
    note "not a Debian machine: install these by its own means"
    return
  fi
  for package in "${PACKAGES[@]}"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  if ! command -v dockerd >/dev/null && ! docker info >/dev/null 2>&1; then
    missing+=(docker.io iptables)
  fi
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || die "as root: apt-get install --no-install-recommends ${missing[*]}"
  note "installing ${missing[*]}"
  run_long apt-update apt-get update
  # RUNLEVEL=1 keeps the packages' own services from starting: the tests start what they use.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive run_long apt-install \
    apt-get install --yes --no-install-recommends "${missing[@]}"
}

install_kind() {
  step "kind $KIND_VERSION from its Go module"
  go_tool kind "$KIND_VERSION" sigs.k8s.io/kind
}

install_helm() {
  step "Helm $HELM_VERSION from its Go module (4 minutes the first time; cached)"
  go_tool helm "$HELM_VERSION" helm.sh/helm/v4/cmd/helm
}

install_kubeconform() {
  step "kubeconform $KUBECONFORM_VERSION from its Go module"
  go_tool kubeconform "$KUBECONFORM_VERSION" github.com/yannh/kubeconform/cmd/kubeconform
}

# One binary for every Kubernetes program and etcd; kubectl is used by everything here, kube-apiserver and etcd also by
# the tests that need an API server without nodes.
install_kubernetes() {
  local dir="$TOOLS/kubernetes-$KUBERNETES_VERSION" version=k8s.io/component-base/version program
  step "Kubernetes $KUBERNETES_VERSION and etcd $ETCD_VERSION from their Go modules (8-14 minutes the first time; cached)"
  mkdir -p "$dir"
  if [[ ! -x "$dir/kubernetes" ]]; then
    CGO_ENABLED=0 run_long build-kubernetes \
      go build -C "$CLUSTER_DIR/node/kubernetes" -v -buildvcs=false -trimpath -o "$dir/kubernetes" -ldflags "-s -w
        -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitTreeState=clean
        -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")" .
  fi
  for program in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl etcd; do
    ln -sfn kubernetes "$dir/$program"
  done
  for program in kube-apiserver kubectl etcd; do
    ln -sfn "$dir/$program" "$MOORING_CACHE/bin/$program"
  done
}

ALL=(packages kind helm kubeconform kubernetes)
(($#)) || set -- "${ALL[@]}"
STEPS=$#
for name in "$@"; do
  [[ " ${ALL[*]} " == *" $name "* ]] || die "no tool called '$name'; there are: ${ALL[*]}"
  [[ "$name" == packages ]] || need go "install Go 1.26 or later"
  "install_$name"
done
