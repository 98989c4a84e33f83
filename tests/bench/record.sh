# shellcheck shell=bash
# Sourced by the benchmarks that record their tables.

# circumstances ROOT: of which code, and on which machine; two items of a list.
circumstances() {
  local changed=''
  git -C "$1" diff --quiet HEAD -- gateway tests/bench Cargo.lock || changed=', changed since'
  cat <<END
- Date: $(date --iso-8601), commit $(git -C "$1" rev-parse --short HEAD)$changed
- Machine: $(lscpu | sed -n 's/^Model name: *//p' | head -n 1), $(nproc) cores, $(awk '/^MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo) GiB, \
Linux $(uname --kernel-release), load average before $(cut -d ' ' -f 1 /proc/loadavg)
END
}
