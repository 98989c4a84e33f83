{{/* Name of the operator's objects. */}}
{{- define "mooring.name" -}}
mooring-operator
{{- end }}

{{- define "mooring.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "mooring.name" .) }}
{{- end }}

{{/* What selects the operator's pods; never changes. */}}
{{- define "mooring.selectorLabels" -}}
app.kubernetes.io/name: mooring-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "mooring.labels" -}}
{{ include "mooring.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: mooring
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Reference of an image, of {repository, tag, digest} and the tag that stands for an empty one. */}}
{{- define "mooring.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end }}
{{- end }}

{{/* Where `helm test` makes its cluster: where the operator acts. */}}
{{- define "mooring.testNamespace" -}}
{{ first (.Values.namespaces | default list) | default .Release.Namespace }}
{{- end }}

{{- define "mooring.gatewayImage" -}}
{{ include "mooring.image" (dict "image" .Values.defaults.gateway.image "tag" .Chart.AppVersion) }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a pod. */}}
{{- define "mooring.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What it asks of a container, and a read-only root. */}}
{{- define "mooring.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
