# shellcheck shell=bash
# Sourced by tests/bin/bench: fetches the peers' programs into $BENCH, each pinned to the latest release when this was written.

CENTRIFUGO=v6.9.1
NATS=v2.15.2
SOCKETIO=4.8.4
SOCKETIO_REDIS=8.3.0
REDIS_CLIENT=6.3.1
SOCKUDO=5.2.0
WS=8.23.0
# A crate with the sources of uWebSockets: Node's package is on no registry.
UWEBSOCKETS=0.0.10

# get PEER: fetches that peer.
get() {
  case "$1" in
  centrifugo) get_go "$1" "github.com/centrifugal/centrifugo/v6@$CENTRIFUGO" ;;
  nats) get_go nats-server "github.com/nats-io/nats-server/v2@$NATS" ;;
  nchan) get_nchan ;;
  uws) get_uws ;;
  ws | socketio) get_node_peers ;;
  sockudo) get_sockudo ;;
  raw | centrifuge | floor | coalescing-floor) ;;
  *) die "no server called '$1'; see the head of $0" ;;
  esac
}

# The versions of what was measured, for the record.
versions() {
  cat <<END
Centrifugo ${CENTRIFUGO#v}, uWebSockets of the crate libuwebsockets-sys $UWEBSOCKETS, nchan $(package_version nchan) in nginx \
$(package_version nginx), ws $WS, nats-server ${NATS#v}, Socket.IO $SOCKETIO with its Redis adapter $SOCKETIO_REDIS, Sockudo $SOCKUDO; \
Node.js $(node --version), $(go version | cut -d ' ' -f 3), Redis $(redis-server --version | sed -E 's/.* v=([^ ]+).*/\1/')
END
}

get_go() {
  if [[ "$(cat "$BENCH/bin/$1.version" 2>/dev/null)" == "$2" ]]; then return; fi
  need go "install Go, or leave $1 out of PEERS"
  CGO_ENABLED=0 GOBIN="$BENCH/bin" run_long "bench-$1" go install "$2"
  echo "$2" >"$BENCH/bin/$1.version"
}

# Debian's nginx and nchan, unpacked where nobody runs them as a service.
get_nchan() {
  # nchan insists on nginx's compiled-in directory, though nothing is written there.
  mkdir -p /var/lib/nginx
  if [[ -x "$BENCH/nginx/usr/sbin/nginx" ]]; then return; fi
  need dpkg-deb 'nchan is taken from Debian; on another system leave it out of PEERS'
  local packages="$BENCH/packages" file
  mkdir -p "$packages"
  (cd "$packages" && apt-get download nginx libnginx-mod-nchan)
  for file in "$packages"/*.deb; do dpkg-deb --extract "$file" "$BENCH/nginx"; done
}

package_version() {
  local files=("$BENCH"/packages/*"$1"_*.deb)
  [[ -e "${files[0]}" ]] && dpkg-deb --field "${files[0]}" Version
}

get_uws() {
  local peer="$ROOT/tests/bench/peers/uws.cpp" build="$BENCH/uws" source
  if [[ "$BENCH/bin/uws" -nt "$peer" ]]; then return; fi
  need g++ 'install g++, or leave uws out of PEERS'
  mkdir -p "$build/src" "$BENCH/bin"
  printf '[package]\nname = "sources"\nedition = "2024"\n[dependencies]\nlibuwebsockets-sys = "=%s"\n' "$UWEBSOCKETS" \
    >"$build/Cargo.toml"
  touch "$build/src/lib.rs"
  source="$(cargo metadata --manifest-path "$build/Cargo.toml" --format-version 1 |
    jq --raw-output '.packages[] | select(.name == "libuwebsockets-sys").manifest_path')"
  source="$(dirname "$source")/uWebSockets"
  run_long bench-uws build_uws "$source" "$build" "$peer"
}

# build_uws SOURCE DIRECTORY PEER: uWebSockets is headers, over a library in C.
build_uws() {
  local flags=(-O3 -flto -DLIBUS_NO_SSL -DUWS_NO_ZLIB "-I$1/src" "-I$1/uSockets/src")
  (cd "$2" && gcc "${flags[@]}" -c "$1"/uSockets/src/*.c "$1"/uSockets/src/eventing/*.c) &&
    g++ -std=c++20 "${flags[@]}" "$3" "$2"/*.o -o "$BENCH/bin/uws"
}

get_node_peers() {
  local versions="ws@$WS socket.io@$SOCKETIO @socket.io/redis-adapter@$SOCKETIO_REDIS redis@$REDIS_CLIENT"
  if [[ "$(cat "$BENCH/js/versions" 2>/dev/null)" == "$versions" ]]; then return; fi
  need npm 'install Node.js 20 or later'
  mkdir -p "$BENCH/js"
  # shellcheck disable=SC2086  # one argument per package
  npm install --prefix "$BENCH/js" --no-save --loglevel=error --ignore-scripts $versions
  echo "$versions" >"$BENCH/js/versions"
}

# What needs a database or a provider is left out of it; what was compiled on the way is not kept.
get_sockudo() {
  if grep -qs "^\"sockudo $SOCKUDO " "$BENCH/.crates.toml"; then return; fi
  need protoc 'install protobuf-compiler, which Sockudo is compiled with, or leave sockudo out of PEERS'
  CARGO_TARGET_DIR="$BENCH/target" run_long bench-sockudo cargo install "sockudo@$SOCKUDO" --locked \
    --no-default-features --features local,redis --root "$BENCH"
  rm -rf "$BENCH/target"
}
