#!/usr/bin/env bash
# Prints who wrote to the API server since a time, from its audit log, most first: one line of count, user, verb,
# resource (group/resource/subresource) and namespace, separated by tabs. Refused and dry-run requests count too.
#
# usage: audit-writes.sh SINCE      any time that date(1) reads: 2026-01-31T12:00:00Z, '1 minute ago'
source "$(dirname "$0")/lib.sh"

(($# == 1)) || die "usage: audit-writes.sh SINCE"
# The log's own form, so that times compare as strings.
since="$(date --utc --date "$1" +%Y-%m-%dT%H:%M:%S.%6NZ)" || die "not a time: $1"
docker exec "$CLUSTER_NAME-control-plane" sh -c 'cat /var/log/kubernetes/audit/*.log' |
  jq --raw-output --arg since "$since" '
    select(.requestReceivedTimestamp >= $since)
    | [.user.username, .verb, ([.objectRef | .apiGroup, .resource, .subresource] | map(select(.)) | join("/")),
       .objectRef.namespace // ""]
    | @tsv' |
  sort | uniq --count | sort --reverse --numeric-sort | sed -E 's/^ *([0-9]+) /\1\t/'
