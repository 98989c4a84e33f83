# What the cases of switches.yaml say of a rendering, which is an object per "Kind name", or "Kind namespace/name" outside the
# release's own namespace.

def objects:
  map(select(. != null) | {
    key: "\(.kind) \(.metadata.namespace // "mooring-system" | if . == "mooring-system" then "" else . + "/" end)\(.metadata.name)",
    value: .}) | from_entries;

def deployment: .["Deployment mooring-operator"];
def pod: deployment.spec.template.spec;
def operator: pod.containers[0];

# differences($default): what a rendering has more (+), less (-) or otherwise (~) than the default one.
def differences($default):
  . as $new | [
    ($default | keys[] | select($new[.] == null) | "- " + .),
    (keys[] | select($default[.] == null) | "+ " + .),
    (keys[] | select($default[.] != null and $default[.] != $new[.]) | "~ " + .)
  ] | sort;
