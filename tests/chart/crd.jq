# JSON schemas for kubeconform, as [file name, schema], of a CustomResourceDefinition. Strict, as the API server is with unknown
# fields when kubectl asks it to validate.

def strict:
  walk(
    if type != "object" then .
    elif .["x-kubernetes-int-or-string"]? == true then {anyOf: [{type: "string"}, {type: "integer"}]}
    elif .type? == "object" and (.properties? | type) == "object" and (has("additionalProperties") | not)
      and .["x-kubernetes-preserve-unknown-fields"]? != true
    then .additionalProperties = false
    else . end);

.spec as $spec | $spec.versions[]
| [("\($spec.names.kind)-\($spec.group | split(".")[0])-\(.name).json" | ascii_downcase),
   (.schema.openAPIV3Schema | strict
    | .properties += {apiVersion: {type: "string"}, kind: {type: "string"}, metadata: {type: "object"}})]
