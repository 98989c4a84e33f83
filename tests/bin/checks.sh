# shellcheck shell=bash
# Sourced by the programs that check things: a line for each check, what to do where one fails, and a closing line that counts.
PASSED=0
FAILED=0
OUTPUT="$(mktemp)"
trap 'rm -f "$OUTPUT"' EXIT

# check WHAT REMEDY COMMAND...
# The command runs in the background, since bash does not end a function at its first failure while somebody asks how it went.
check() {
  local what="$1" remedy="$2" began=$SECONDS
  shift 2
  "$@" >"$OUTPUT" 2>&1 &
  if wait $!; then
    PASSED=$((PASSED + 1))
    printf 'ok    %s (%s)\n' "$what" "$(elapsed $((SECONDS - began)))"
  else
    FAILED=$((FAILED + 1))
    printf 'FAIL  %s\n%s\n      remedy: %s\n' "$what" "$(tail -n 40 "$OUTPUT")" "$remedy"
  fi
}

# close_checks: the closing line; fails if a check did.
close_checks() {
  printf '%s: %d passed, %d failed\n' "$SCRIPT" "$PASSED" "$FAILED"
  ((FAILED == 0))
}
