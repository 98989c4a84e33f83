#!/usr/bin/env bash
# Runs inside the node image while it is built: systemd starts what a node needs and nothing of what a machine would.
set -euo pipefail

rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
rm -f /lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* /etc/systemd/system/*.wants/*
rm -f /lib/systemd/system/sockets.target.wants/*{udev,initctl}*
systemctl enable kubelet.service containerd.service undo-mount-hacks.service import-images.service
systemctl mask systemd-binfmt.service # it writes to the machine's kernel, not to the node's

# kind's unit for containerd: Debian's place for the program, and no limits that only CAP_SYS_RESOURCE can set.
sed -i -e '/^Limit/d' -e '/^OOMScoreAdjust/d' -e 's,/usr/local/bin/containerd,/usr/bin/containerd,' \
  /etc/systemd/system/containerd.service

# Kernel messages are the machine's; a node's journal would only repeat them.
echo ReadKMsg=no >>/etc/systemd/journald.conf
mkdir -p /etc/kubernetes/manifests /opt/cni
ln -s /usr/lib/cni /opt/cni/bin
