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
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mooring.labels" -}}
{{ include "mooring.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: mooring
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
