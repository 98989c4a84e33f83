#!/usr/bin/env bash
# Builds every Kubernetes program, etcd and kube-router's firewall as one binary, $TOOLS/kubernetes-VERSION/kubernetes, with a link
# for each program beside it.
source "$(dirname "$0")/../lib.sh"

version=k8s.io/component-base/version
need go "install Go 1.26 or later"
STEPS=1
step "Kubernetes $KUBERNETES_VERSION and etcd $ETCD_VERSION from their Go modules (8-14 minutes the first time; cached)"
mkdir -p "$KUBERNETES"
# What the binary holds changes also while the version of Kubernetes does not.
sources="$(cat "$CLUSTER_DIR"/offline/kubernetes/{go.mod,go.sum,*.go} | sha256sum | cut -c 1-12)"
if [[ ! -x "$KUBERNETES/kubernetes" || "$(cat "$KUBERNETES/sources" 2>/dev/null)" != "$sources" ]]; then
  CGO_ENABLED=0 run_long build-kubernetes \
    go build -C "$CLUSTER_DIR/offline/kubernetes" -v -buildvcs=false -trimpath -o "$KUBERNETES/kubernetes" -ldflags "-s -w
      -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitTreeState=clean
      -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")" .
  echo "$sources" >"$KUBERNETES/sources"
fi
for program in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kube-router-firewall kubelet kubeadm kubectl etcd; do
  ln -sfn kubernetes "$KUBERNETES/$program"
done
