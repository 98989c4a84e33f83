# shellcheck shell=bash disable=SC2034  # used by the scripts that source it
# What the node image holds besides Kubernetes and etcd. A change here makes a new one.
COREDNS_VERSION=1.14.2 # the one this kubeadm names
PAUSE_VERSION=3.10.2   # the one this kubeadm names
LOCAL_PATH_VERSION=0.0.30
