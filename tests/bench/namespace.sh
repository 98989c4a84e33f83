# shellcheck shell=bash
# Sourced by the benchmarks. They run in a network namespace of their own: without the packet filters and the connection tracking that an
# engine for containers leaves on a machine, which would be counted with every packet.

NAMESPACE=(--net)
((EUID == 0)) || NAMESPACE+=(--map-root-user)

# shellcheck disable=SC2016  # for the shell inside
WITH_LOOPBACK='ip link set lo up && exec "$@"'

# inside COMMAND...
inside() { unshare "${NAMESPACE[@]}" bash -c "$WITH_LOOPBACK" inside "$@"; }

# need_namespace INSIDE: that function can run a command.
need_namespace() {
  need unshare 'install util-linux'
  need ip 'install iproute2'
  "$1" true ||
    die 'cannot make a network namespace here; be root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone)'
}
