#!/usr/bin/env bash
# Makes the node image's base: a minimal Debian with systemd, containerd and the network's tools, as the Docker image named.
#
# usage: base.sh IMAGE
set -euo pipefail

SUITE=bookworm
PACKAGES=(busybox-static ca-certificates conntrack containerd containernetworking-plugins curl dbus ebtables ethtool
  hostname iproute2 ipset iptables jq kmod libcap2-bin mount nftables procps rsync runc socat systemd systemd-sysv)

root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

# The mirror that this machine's own packages come from; without one debootstrap takes Debian's.
# shellcheck disable=SC2016  # apt's own variables
mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -n 1)"
debootstrap --variant=minbase --include="$(IFS=,; echo "${PACKAGES[*]}")" "$SUITE" "$root" ${mirror:+"$mirror"}

rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/* "$root"/etc/machine-id
tar --create --directory "$root" --numeric-owner . | docker import - "$1"
