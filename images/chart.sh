# shellcheck shell=bash
# Sourced by what installs the chart: how an image is said to it.

# chart_image KEY IMAGE: a flag of Helm's per line that sets the chart's value KEY to an image.
chart_image() {
  local key="$1" repository="${2%@*}" digest='' tag=''
  [[ "$2" != *@* ]] || digest="${2##*@}"
  if [[ "${repository##*/}" == *:* ]]; then
    tag="${repository##*:}"
    repository="${repository%:*}"
  fi
  printf -- '--set-string=%s.repository=%s\n' "$key" "$repository"
  # A tag says nothing where there is a digest.
  if [[ -n "$digest" ]]; then
    printf -- '--set-string=%s.digest=%s\n' "$key" "$digest"
  elif [[ -n "$tag" ]]; then
    printf -- '--set-string=%s.tag=%s\n' "$key" "$tag"
  fi
}
