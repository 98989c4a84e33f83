# shellcheck shell=bash disable=SC2034  # used by the scripts that source it
# What the cluster and its tools are made of; offline/versions.sh has what is built besides where no image can be pulled.
KUBERNETES_VERSION=1.36.3 # also in offline/kubernetes/go.mod
ETCD_VERSION=3.6.8        # the one this kubeadm names; also in offline/kubernetes/go.mod
KIND_VERSION=0.33.0
KIND_NODE_IMAGE=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5 # the one this kind names
HELM_VERSION=4.3.1
KUBECONFORM_VERSION=0.8.0
CARGO_FUZZ_VERSION=0.13.2
CARGO_NEXTEST_VERSION=0.9.151 # also in .config/nextest.toml
CARGO_DENY_VERSION=0.20.2
RUST_NIGHTLY=nightly # for sanitizers, which stable Rust has no flag for
