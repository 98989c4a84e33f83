# shellcheck shell=bash
# Sourced by tests/bin/machines: machines to try set-up on, and the servers on loopback that stand for the places that releases and
# images come from.
WORK="$(mktemp --directory)"
RELEASES="$WORK/releases"
# What any machine has, and what the scripts may count on everywhere.
BASICS=(awk basename bash cat chmod cp curl cut date dirname env find flock git grep head id ln ls mkdir mktemp mv printf rm sed
  sh sha256sum sleep sort tail tar tee gzip timeout touch tr uname uniq wc xargs)
REAL_PATH="$PATH"
MACHINE=''
PROCESSES=()

finish() {
  ((${#PROCESSES[@]} == 0)) || kill "${PROCESSES[@]}" 2>/dev/null || true
  rm -rf "$WORK" "$OUTPUT"
  exec 8>&-
  "$CLUSTER_DIR/engine.sh" stop
}
trap finish EXIT

# on_a_machine FUNCTION: on one of its own.
on_a_machine() {
  new_machine
  "$1"
}

# The machine of a check: a cache of its own, the basics, and nothing else.
new_machine() {
  local program
  MACHINE="$(mktemp --directory --tmpdir="$WORK")"
  mkdir "$MACHINE/bin"
  : >"$MACHINE/calls"
  for program in "${BASICS[@]}"; do has "$program"; done
  export MOORING_CACHE="$MACHINE/cache" PATH="$MACHINE/bin"
  unset CLUSTER REGISTRY TAG NODE_IMAGE REDIS_IMAGE OPERATOR_IMAGE GATEWAY_IMAGE FLEET_IMAGE http_proxy https_proxy
  export KUBERNETES_RELEASES="$SERVER/kubernetes" ETCD_RELEASES="$SERVER/etcd" KIND_RELEASES="$SERVER/kind" HELM_RELEASES="$SERVER/helm"
}

# has PROGRAM: the machine has it, as this one does.
has() { ln -sf "$(PATH="$REAL_PATH" command -v "$1")" "$MACHINE/bin/$1"; }

# notes PROGRAM [BODY]: the machine has one that notes its calls and does no more than BODY, a line of sh.
notes() {
  rm -f "$MACHINE/bin/$1"
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\n%s\n' "$1" "$MACHINE" "${2:-exit 1}" >"$MACHINE/bin/$1"
  chmod 755 "$MACHINE/bin/$1"
}

# says EXPECTED ACTUAL
says() {
  [[ "$2" == "$1" ]] || { printf 'it says:\n%s\ninstead of:\n%s\n' "$2" "$1" && return 1; }
}

# tells FILE TEXT...: each of them is in the file.
tells() {
  local text
  for text in "${@:2}"; do
    grep --quiet --fixed-strings -- "$text" "$1" || { printf '%s\nThat lacks "%s".\n' "$(<"$1")" "$text" && return 1; }
  done
}

# lacks FILE REGEX: no line matches.
lacks() {
  if grep --extended-regexp -- "$2" "$1"; then return 1; fi
}

# fails COMMAND...: it does, and what it says is kept for tells.
fails() {
  if "$@" >"$MACHINE/said" 2>&1; then
    printf 'it passes: %s\n' "$*"
    return 1
  fi
}

# none FILE|DIRECTORY: nothing is in it, or it is not there.
none() {
  if [[ -e "$1" ]]; then says '' "$(find "$1" -type l -o -type f -size +0)"; fi
}

# words: the lines of its input, without repetition, in one.
words() {
  local lines
  mapfile -t lines < <(sort -u)
  echo "${lines[*]}"
}

# asked: the paths that the server of releases was asked for; asked_since FILE: after those in the file.
asked() { sed -n 's/.*"GET \([^ ]*\) .*/\1/p' "$WORK/server.log"; }
asked_since() { asked | tail -n "+$(($(wc -l <"$1") + 1))"; }

# release PATH CONTENT SUMS [NAME]: a file, and a list of sums that holds its own.
release() {
  mkdir -p "$(dirname "$RELEASES/$1")"
  printf '%s' "$2" >"$RELEASES/$1"
  publish_sum "$1" "$3"
}

publish_sum() {
  printf '%s  %s\n' "$(sha256sum "$RELEASES/$1" | cut -d ' ' -f 1)" "${1##*/}" >>"$RELEASES/$2"
}

# archive PATH MEMBER CONTENT SUMS
archive() {
  local tree
  tree="$(mktemp --directory --tmpdir="$WORK")"
  mkdir -p "$tree/$(dirname "$2")" "$(dirname "$RELEASES/$1")"
  printf '%s' "$3" >"$tree/$2"
  tar --create --gzip --file "$RELEASES/$1" --directory "$tree" "$(dirname "$2")"
  publish_sum "$1" "$4"
}

serve_releases() {
  local arch program path
  for arch in amd64 arm64; do
    for program in kubectl kube-apiserver; do
      path="kubernetes/v$KUBERNETES_VERSION/bin/linux/$arch/$program"
      release "$path" "#!/bin/sh"$'\n'"echo the released $program for $arch" "$path.sha256"
      sed -i 's/ .*//' "$RELEASES/$path.sha256" # these are a sum and nothing else
    done
    path="kind/v$KIND_VERSION/kind-linux-$arch"
    release "$path" "#!/bin/sh"$'\n'"echo the released kind for $arch" "$path.sha256sum"
    path="helm/helm-v$HELM_VERSION-linux-$arch.tar.gz"
    archive "$path" "linux-$arch/helm" "#!/bin/sh"$'\n'"echo the released helm for $arch" "$path.sha256sum"
    path="etcd/v$ETCD_VERSION"
    archive "$path/etcd-v$ETCD_VERSION-linux-$arch.tar.gz" "etcd-v$ETCD_VERSION-linux-$arch/etcd" \
      "#!/bin/sh"$'\n'"echo the released etcd for $arch" "$path/SHA256SUMS"
  done
  python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$RELEASES" >"$WORK/server.out" 2>"$WORK/server.log" &
  PROCESSES+=($!)
  until_true 60 'the server of releases' grep --quiet 'port [0-9]' "$WORK/server.out"
  SERVER="http://127.0.0.1:$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$WORK/server.out")"
}

serve_images() {
  local port
  port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  sed -e "s,:5000,127.0.0.1:$port," -e "s,/data,$WORK/registry," "$CLUSTER_DIR/offline/images/registry/config.yml" >"$WORK/registry.yml"
  docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 8>&- &
  PROCESSES+=($!)
  IMAGES="127.0.0.1:$port"
  until_true 60 'the registry' curl --fail --silent --max-time 5 "http://$IMAGES/v2/"
}
