# shellcheck shell=bash disable=SC2034  # used by the script that sources it
# Sourced by tools.sh: programs as their projects release them, checked against the SHA-256 sums published beside them. Each
# place is a setting, for machines that have a mirror of it.
KUBERNETES_RELEASES="${KUBERNETES_RELEASES:-https://dl.k8s.io}"
ETCD_RELEASES="${ETCD_RELEASES:-https://github.com/etcd-io/etcd/releases/download}"
KIND_RELEASES="${KIND_RELEASES:-https://kind.sigs.k8s.io/dl}"
HELM_RELEASES="${HELM_RELEASES:-https://get.helm.sh}"

declare -A REACHABLE # server -> true or false, asked once a run

# get URL OPTION...: bounded, and what is asked for as https stays https, whatever redirects there are.
get() {
  curl --fail --silent --show-error --location --proto "=https,${1%%:*}" --connect-timeout 3 --speed-limit 1000 \
    --speed-time 30 "${@:2}" "$1"
}

# reachable URL: whether files can be had from its server; known within 10 seconds.
reachable() {
  local server answer
  server="$(grep --only-matching --extended-regexp '^[a-z]+://[^/]+' <<<"$1")"
  if [[ -z "${REACHABLE[$server]:-}" ]]; then
    # One byte of it: what GitHub redirects to does not always answer HEAD.
    if answer="$(get "$1" --range 0-0 --output /dev/null --max-time 10 2>&1)"; then
      REACHABLE[$server]=true
    else
      REACHABLE[$server]=false
      note "$server: no release can be had ($answer), so it is built here"
    fi
  fi
  ${REACHABLE[$server]}
}

# download URL SUMS FILE [MEMBER]: the program, out of the archive if a member is named. Ends the script, and leaves no file,
# unless what came has the sum that the list at SUMS gives.
download() {
  local url="$1" sums="$2" file="$3" member="${4:-}" name="${1##*/}" list want got
  note "$url"
  mkdir -p "$(dirname "$file")"
  list="$(get "$sums" --max-time 30)" || die "$sums: no sum can be had for $name, so it is not used; run this again"
  # A list has lines of sum and name, or nothing but one sum.
  want="$(awk -v name="$name" 'NF == 1 || $2 == name || $2 == "*" name { print $1; exit }' <<<"$list")"
  run_long "download-$name" get "$url" --retry 2 --output "$file.part"
  got="$(sha256sum "$file.part" | cut -d ' ' -f 1)"
  if [[ "$got" != "$want" ]]; then
    rm "$file.part"
    die "$url has SHA-256 $got, but $sums says ${want:-nothing about $name}. It is not used. Run this again; if the sums still" \
      "differ, a proxy or mirror in between gives out something else"
  fi
  if [[ -n "$member" ]]; then
    tar --extract --gzip --file "$file.part" --to-stdout "$member" >"$file.member"
    mv "$file.member" "$file.part"
  fi
  chmod 755 "$file.part"
  mv "$file.part" "$file"
}
