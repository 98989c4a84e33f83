# Every value that the chart documents, as {path, default}: what is inside of Kubernetes's own types is theirs.

def is_foreign: . == "resources" or . == "spec";

def values($path):
  if type == "object" and length > 0 and ($path | last | is_foreign | not)
  then to_entries[] | .key as $key | .value | values($path + [$key])
  else {path: ($path | join(".")), default: .} end;

def values: values([""]) | .path |= ltrimstr(".");
