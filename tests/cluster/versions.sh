# shellcheck shell=bash disable=SC2034  # used by the scripts that source it
# What the cluster and its tools are made of. A change here makes a new node image.
KUBERNETES_VERSION=1.36.3 # also in node/kubernetes/go.mod
ETCD_VERSION=3.6.8        # the one this kubeadm names; also in node/kubernetes/go.mod
COREDNS_VERSION=1.14.2    # the one this kubeadm names
PAUSE_VERSION=3.10.2      # the one this kubeadm names
KIND_VERSION=0.33.0
LOCAL_PATH_VERSION=0.0.30
HELM_VERSION=4.3.1
KUBECONFORM_VERSION=0.8.0
CARGO_FUZZ_VERSION=0.13.2
CARGO_DENY_VERSION=0.20.2
RUST_NIGHTLY=nightly # for sanitizers, which stable Rust has no flag for
