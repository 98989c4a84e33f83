#!/usr/bin/env bash
# Prints kind's configuration of the cluster: kind.yaml with this cluster's port, and what this machine's engine and the node image
# need besides.
#
# usage: kind-config.sh NODE_IMAGE
source "$(dirname "$0")/lib.sh"

(($# == 1)) || die "usage: kind-config.sh NODE_IMAGE"
sed "s/hostPort: 8000/hostPort: $CLUSTER_PORT/" "$CLUSTER_DIR/kind.yaml"

# The node image that is built here has nft for kube-proxy, and no iptables.
if [[ "$1" == mooring.dev/* ]]; then
  printf 'networking:\n  kubeProxyMode: nftables\n'
fi

kubelet=()
engine="$(docker info --format '{{.DefaultRuntime}} cgroup v{{.CgroupVersion}}')"
# Root may not raise limits; this lets the kubelet go on without.
[[ "$engine" != "$WRAPPED_RUNTIME "* ]] || kubelet+=('featureGates: {KubeletInUserNamespace: true}')
[[ "$engine" != *' cgroup v1' ]] || kubelet+=('failCgroupV1: false')
if ((${#kubelet[@]})); then
  printf 'kubeadmConfigPatches:\n  - |\n    kind: KubeletConfiguration\n'
  printf '    %s\n' "${kubelet[@]}"
fi
