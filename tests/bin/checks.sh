# shellcheck shell=bash
# Sourced by the programs that check things: a line for each check, and a closing line that counts.
PASSED=0
FAILED=0
OUTPUT="$(mktemp)"

# check WHAT COMMAND...; what to do when it fails is REMEDY, where that is set.
# The command runs in the background, since bash does not end a function at its first failure while somebody asks how it went.
check() {
  local what="$1" began=$SECONDS
  shift
  "$@" >"$OUTPUT" 2>&1 &
  if wait $!; then
    PASSED=$((PASSED + 1))
    printf 'ok    %s (%s)\n' "$what" "$(elapsed $((SECONDS - began)))"
  else
    FAILED=$((FAILED + 1))
    printf 'FAIL  %s\n%s\n' "$what" "$(tail -n 40 "$OUTPUT" | sed 's/^/      /')"
    [[ -z "${REMEDY:-}" ]] || printf '      remedy: %s\n' "$REMEDY"
  fi
}

# close_checks: the closing line; fails if a check did.
close_checks() {
  rm -f "$OUTPUT"
  printf '%s: %d passed, %d failed\n' "$SCRIPT" "$PASSED" "$FAILED"
  ((FAILED == 0))
}
