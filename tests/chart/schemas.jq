# JSON schemas for kubeconform, as [file name, schema], of Kubernetes's OpenAPI (swagger.json). One file has all definitions, and
# a file per kind refers to it. Strict: a field that the API does not know is refused, as kubectl would.

def strict:
  walk(
    if type != "object" then .
    elif .format? == "int-or-string" then {anyOf: [{type: "string"}, {type: "integer"}]}
    elif .type? == "object" and (.properties? | type) == "object" and (has("additionalProperties") | not)
    then .additionalProperties = false
    else . end);

# Quantities may be plain numbers.
def definitions: .definitions | strict | .["io.k8s.apimachinery.pkg.api.resource.Quantity"].type = ["string", "number"];

["_definitions.json", {definitions: definitions}],
(.definitions | to_entries[] | .key as $name
  | .value["x-kubernetes-group-version-kind"] // [] | select(length == 1)[]
  | [("\(.kind)-\(if .group == "" then "" else (.group | split(".")[0]) + "-" end)\(.version).json" | ascii_downcase),
     {allOf: [{"$ref": "_definitions.json#/definitions/\($name)"},
              {properties: {apiVersion: {const: (if .group == "" then .version else "\(.group)/\(.version)" end)}}}]}])
