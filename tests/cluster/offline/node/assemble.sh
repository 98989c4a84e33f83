#!/usr/bin/env bash
# Gathers the build context of the node image in a directory: rootfs/, laid over the base, with kind's own files out of its
# Go module, the Kubernetes programs, and /kind/images with the images that kubeadm expects to find.
#
# usage: assemble.sh BASE_IMAGE DIRECTORY
source "$(dirname "$0")/../../lib.sh"
source "$(dirname "$0")/../versions.sh"

BASE="$1" CONTEXT="$2"
OFFLINE="$CLUSTER_DIR/offline" NODE="$CLUSTER_DIR/offline/node" ROOTFS="$CONTEXT/rootfs"
STORAGE_MODULE="github.com/rancher/local-path-provisioner@v$LOCAL_PATH_VERSION"
IMAGES=()

# image TARGET NAME...: builds a target of images.Dockerfile under every name it is known by.
image() {
  local target="$1" name names=()
  shift
  for name in "$@"; do names+=(--tag "$name"); done
  docker build --quiet --build-arg "BASE=$BASE" --target "$target" "${names[@]}" --file "$NODE/images.Dockerfile" "$CONTEXT"
  IMAGES+=("$@")
}

# fill FILE: the versions in our own files.
fill() { sed -e "s/@KUBERNETES_VERSION@/$KUBERNETES_VERSION/g" -e "s/@PAUSE_VERSION@/$PAUSE_VERSION/g" "$1"; }

rm -rf "$CONTEXT"
mkdir -p "$ROOTFS"/{etc/containerd,etc/systemd/system,kind/images,kind/manifests,usr/bin,usr/local/sbin} "$CONTEXT/bin"

echo "kind's files"
cp -R --no-preserve=mode "$(module_dir "sigs.k8s.io/kind@v$KIND_VERSION")/images/base/files/." "$ROOTFS"
cp "$NODE/setup.sh" "$ROOTFS/kind/"
chmod 755 "$ROOTFS"/kind/{setup.sh,bin/*} "$ROOTFS"/usr/local/bin/*
echo "v$KUBERNETES_VERSION" >"$ROOTFS/kind/version"

echo "our files"
fill "$NODE/files/containerd.toml" >"$ROOTFS/etc/containerd/config.toml"
cp "$NODE/files/import-images.service" "$ROOTFS/etc/systemd/system/"
fill "$NODE/manifests/default-cni.yaml" >"$ROOTFS/kind/manifests/default-cni.yaml"
{
  sed -e 's,/opt/local-path-provisioner,/var/local-path-provisioner,' -e 's,image: busybox,image: mooring.dev/busybox:debian,' \
    "$(module_dir "$STORAGE_MODULE")/deploy/local-path-storage.yaml"
  cat "$NODE/manifests/default-storage-class.yaml"
} >"$ROOTFS/kind/manifests/default-storage.yaml"

echo "programs"
cp -R "$KUBERNETES/." "$CONTEXT/bin/kubernetes"
cp -R "$KUBERNETES"/{kubernetes,kubeadm,kubectl,kubelet} "$ROOTFS/usr/bin/"
cp "$TOOLS/coredns-$COREDNS_VERSION/coredns" "$TOOLS/local-path-provisioner-$LOCAL_PATH_VERSION/local-path-provisioner" \
  "$CONTEXT/bin/"
cc -static -Os -o "$CONTEXT/bin/pause" "$NODE/pause.c"
CGO_ENABLED=0 go build -C "$OFFLINE/runc" -buildvcs=false -trimpath -o "$ROOTFS/usr/local/sbin/runc" .

echo "images"
image kubernetes "registry.k8s.io/etcd:$ETCD_VERSION-0" \
  registry.k8s.io/kube-{apiserver,controller-manager,proxy,scheduler}:"v$KUBERNETES_VERSION"
image coredns "registry.k8s.io/coredns/coredns:v$COREDNS_VERSION"
image pause "registry.k8s.io/pause:$PAUSE_VERSION"
image local-path-provisioner "rancher/local-path-provisioner:v$LOCAL_PATH_VERSION"
image busybox mooring.dev/busybox:debian
docker save --output "$ROOTFS/kind/images/node.tar" "${IMAGES[@]}"
