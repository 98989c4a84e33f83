# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
# Sourced by every script here: places, and how a step says what it does and how far it is.
set -euo pipefail
shopt -s inherit_errexit # $(...) ends at its first failure too

CLUSTER_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$CLUSTER_DIR/versions.sh"
MOORING_CACHE="${MOORING_CACHE:-${HOME:?is not set: set it, or name a directory in MOORING_CACHE}/.cache/mooring}"
# The kind cluster that is meant, and this machine's port that leads to its NodePort 30080. Clusters of other names are left alone.
CLUSTER_NAME="${MOORING_CLUSTER:-mooring}"
CLUSTER_PORT="${MOORING_PORT:-8000}"
TOOLS="$MOORING_CACHE/tools"
KUBERNETES="$TOOLS/kubernetes-$KUBERNETES_VERSION" # kubectl, kube-apiserver, etcd, ...
STATE="$MOORING_CACHE/cluster/$CLUSTER_NAME"
# The engine's default runtime where root lacks CAP_SYS_RESOURCE; what it is called tells that later on.
WRAPPED_RUNTIME=mooring
# Release builds of what is not measured: optimising across crates takes longer than all the rest.
QUICK_RELEASE=(CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16)
export MOORING_CACHE
export PATH="$MOORING_CACHE/bin:$PATH:/usr/sbin:/sbin"

SCRIPT="$(basename "$0" .sh)"
STEP=0

# Everything said goes to stderr: stdout is for results.
note() { printf '      %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; exit 1; }

# CLUSTER=current means the cluster that kubectl already talks to. A typing error must not mean another than was meant.
case "${CLUSTER:-kind}" in
kind) export KUBECONFIG="$STATE/kubeconfig" ;;
current) ;;
*) die "CLUSTER is '$CLUSTER'; it can be kind or current" ;;
esac

# These end up in paths and in names of containers.
[[ "$MOORING_CACHE" == /* ]] || die "MOORING_CACHE is '$MOORING_CACHE': name a directory by its whole path, from / on"
[[ "$CLUSTER_NAME" =~ ^[a-z0-9][a-z0-9.-]{0,48}$ ]] || die "MOORING_CLUSTER is '$CLUSTER_NAME': a name has at most 49 lower-case letters, \
digits, dots and dashes"
[[ "$CLUSTER_PORT" =~ ^[1-9][0-9]{0,4}$ && "$CLUSTER_PORT" -le 65535 ]] || die "MOORING_PORT is '$CLUSTER_PORT': name one from 1 to 65535"
mkdir -p "$MOORING_CACHE/bin" "$MOORING_CACHE/log" "$STATE"

# step TEXT: the next of the $STEPS steps that the script announces.
step() {
  STEP=$((STEP + 1))
  printf '[%s %d/%d] %s\n' "$SCRIPT" "$STEP" "${STEPS:?}" "$*" >&2
}

# elapsed SECONDS -> 3m07s
elapsed() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# tick LOG: says every 15 s how long it has taken and the log's last line; ends with the script that started it.
tick() {
  local log="$1" started=$SECONDS due=15
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    if ((SECONDS - started >= due)); then
      note "$(elapsed $((SECONDS - started))): $(wc -l <"$log") lines of output, now: $(tail -n 1 "$log" | cut -c 1-80)"
      due=$((due + 15))
    fi
  done
}

# run_long NAME COMMAND...: runs a program with its output in a log of that name; shows the log's end when it fails.
run_long() {
  local log="$MOORING_CACHE/log/$1.log" started=$SECONDS status=0 ticker
  shift
  : >"$log"
  tick "$log" >&2 &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if ((status != 0)); then
    tail -n 30 "$log" >&2
    die "failed with status $status: $*; the whole output is in $log"
  fi
  note "done in $(elapsed $((SECONDS - started)))"
}

# until_true SECONDS WHAT COMMAND...: repeats a command until it succeeds, at most so long.
until_true() {
  local limit="$1" what="$2" started=$SECONDS due=15
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS - started < limit)) || die "waited $limit s for $what; last answer: $("$@" 2>&1 | tail -n 5)"
    if ((SECONDS - started >= due)); then
      note "$(elapsed $((SECONDS - started))): waiting for $what"
      due=$((due + 15))
    fi
    sleep 1
  done
}

need() { command -v "$1" >/dev/null || die "$1 is missing: $2"; }

# use_engine: a Docker engine answers, and engine.sh stops it for nobody while this script runs.
use_engine() {
  exec 8>"$MOORING_CACHE/cluster/engine.users"
  flock --shared 8
  "$CLUSTER_DIR/engine.sh" start
}

# architecture -> amd64 or arm64: this machine's, as Go, Docker and Kubernetes call it.
architecture() {
  case "$(uname -s) $(uname -m)" in
  'Linux x86_64') echo amd64 ;;
  'Linux aarch64' | 'Linux arm64') echo arm64 ;;
  *) die "this machine is $(uname -s) on $(uname -m); run this on Linux on x86_64 (amd64) or aarch64 (arm64)" ;;
  esac
}

# rust_target -> the same as Rust calls it.
rust_target() {
  local architecture
  architecture="$(architecture)"
  case "$architecture" in
  amd64) echo x86_64-unknown-linux-gnu ;;
  arm64) echo aarch64-unknown-linux-gnu ;;
  esac
}

# module_dir MODULE@VERSION -> where Go keeps that module's files, fetched if need be.
module_dir() {
  local answer
  answer="$(cd / && GOFLAGS=-mod=mod go mod download -json "$1")" ||
    die "Go can't fetch $1: $(sed -n 's/^\t"Error": "\(.*\)".*/\1/p' <<<"$answer")"
  sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer"
}

# go_tool NAME VERSION PACKAGE: $TOOLS/NAME-VERSION/NAME, a program from its Go module.
go_tool() {
  local dir="$TOOLS/$1-$2"
  if [[ -x "$dir/$1" ]]; then return; fi
  need go "install Go 1.26 or later"
  CGO_ENABLED=0 GOBIN="$dir" run_long "build-$1" go install -v -trimpath -ldflags '-s -w' "$3@v$2"
}

# install_packages PACKAGE...: those of Debian's packages that are missing.
install_packages() {
  local missing=()
  if ! command -v dpkg-query >/dev/null; then
    note "not a Debian machine: see that you have what Debian calls $*"
    return
  fi
  for package in "$@"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return; fi
  ((EUID == 0)) || die "as root: apt-get install --no-install-recommends ${missing[*]}"
  note "installing ${missing[*]}"
  run_long apt-update apt-get update
  # RUNLEVEL=1 keeps the packages' own services from starting.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive run_long apt-install \
    apt-get install --yes --no-install-recommends "${missing[@]}"
}

# cargo_tool NAME VERSION [ARGUMENTS]...: a program from its crate, with the crate's own lock file, in its own directory of the cache
# and on the PATH. Not optimised: it takes a third of the time, and these programs wait for what they start.
cargo_tool() {
  local name="$1" version="$2" dir="$TOOLS/$1-$2"
  shift 2
  if [[ ! -x "$dir/bin/$name" ]]; then
    CARGO_PROFILE_DEV_DEBUG=false run_long "build-$name" env --unset=CARGO_TARGET_DIR --unset=RUSTFLAGS \
      cargo install --locked --no-track --profile dev --root "$dir" "$@" "$name@$version"
  fi
  ln -sfn "$dir/bin/$name" "$MOORING_CACHE/bin/$name"
}
