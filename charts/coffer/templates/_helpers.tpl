{{- define "coffer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "coffer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "coffer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "coffer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "coffer.labels" -}}
{{ include "coffer.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "coffer.serviceAccountName" -}}
{{- default (include "coffer.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "coffer.configSecret" -}}
{{- required "config.existingSecret is empty: name the Secret with database-url, redis-url and root-key" .Values.config.existingSecret -}}
{{- end -}}

{{- /* The flags of the root key. */}}
{{- define "coffer.rootKeyArgs" -}}
{{- with .Values.rootKey }}
{{- if eq .source "keyFile" -}}
- --root-key-file=/etc/coffer/root/key
{{- else if eq .source "kms" -}}
- --root-kms-socket={{ .kms.socket }}
{{- else -}}
- --root-transit-address={{ required "rootKey.source is transit: set rootKey.transit.address" .transit.address }}
- --root-transit-key={{ required "rootKey.source is transit: set rootKey.transit.key" .transit.key }}
- --root-transit-mount={{ .transit.mount }}
{{- with .transit.namespace }}
- --root-transit-namespace={{ . }}
{{- end }}
{{- if .transit.tokenSecret }}
- --root-transit-token-file=/etc/coffer-root-token/token
{{- else }}
- --root-transit-kubernetes-role={{ required "rootKey.source is transit: set rootKey.transit.kubernetesRole or tokenSecret" .transit.kubernetesRole }}
- --root-transit-kubernetes-mount={{ .transit.kubernetesMount }}
{{- end }}
{{- if .transit.caConfigMap }}
- --root-transit-ca-file=/etc/coffer-root-ca/ca.crt
{{- end }}
{{- end }}
{{- if and .previousKeyFile (ne .source "keyFile") }}
- --root-previous-key-file=/etc/coffer/root/key
{{- end }}
{{- end }}
{{- end }}
