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

{{- /* The flags of a root key. root is its values, flags what the flags begin with, and
values what the messages call it. */}}
{{- define "coffer.rootKeyArgs" -}}
{{- $flags := .flags -}}
{{- $values := .values -}}
{{- with .root -}}
{{- if eq .source "keyFile" -}}
- --{{ $flags }}-key-file=/etc/coffer/root/key
{{- else if eq .source "passphrase" -}}
- --{{ $flags }}-passphrase-file=/etc/coffer/root/passphrase
{{- else if eq .source "kms" -}}
- --{{ $flags }}-kms-socket={{ .kms.socket }}
{{- else -}}
- --{{ $flags }}-transit-address={{ required (printf "%s.source is transit: set %s.transit.address" $values $values) .transit.address }}
- --{{ $flags }}-transit-key={{ required (printf "%s.source is transit: set %s.transit.key" $values $values) .transit.key }}
- --{{ $flags }}-transit-mount={{ .transit.mount }}
{{- with .transit.namespace }}
- --{{ $flags }}-transit-namespace={{ . }}
{{- end }}
{{- if .transit.tokenSecret }}
- --{{ $flags }}-transit-token-file=/etc/coffer-{{ $flags }}-token/token
{{- else }}
- --{{ $flags }}-transit-kubernetes-role={{ required (printf "%s.source is transit: set %s.transit.kubernetesRole or tokenSecret" $values $values) .transit.kubernetesRole }}
- --{{ $flags }}-transit-kubernetes-mount={{ .transit.kubernetesMount }}
{{- end }}
{{- if .transit.caConfigMap }}
- --{{ $flags }}-transit-ca-file=/etc/coffer-{{ $flags }}-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What of a root key is mounted beside the Secret of config. */}}
{{- define "coffer.rootKeyMounts" -}}
{{- $flags := .flags -}}
{{- with .root }}
{{- if and (eq .source "kms") .kms.hostPath }}
- name: {{ $flags }}-kms
  mountPath: {{ dir .kms.socket }}
{{- end }}
{{- if eq .source "transit" }}
{{- if .transit.tokenSecret }}
- name: {{ $flags }}-transit-token
  mountPath: /etc/coffer-{{ $flags }}-token
  readOnly: true
{{- end }}
{{- if .transit.caConfigMap }}
- name: {{ $flags }}-transit-ca
  mountPath: /etc/coffer-{{ $flags }}-ca
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "coffer.rootKeyVolumes" -}}
{{- $flags := .flags -}}
{{- with .root }}
{{- if and (eq .source "kms") .kms.hostPath }}
- name: {{ $flags }}-kms
  hostPath:
    path: {{ .kms.hostPath }}
    type: Directory
{{- end }}
{{- if eq .source "transit" }}
{{- with .transit.tokenSecret }}
- name: {{ $flags }}-transit-token
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .transit.caConfigMap }}
- name: {{ $flags }}-transit-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The flags of the files of a server, database or redis, or of the database's owner. */}}
{{- define "coffer.connectionArgs" -}}
{{- $name := .name -}}
{{- with .files -}}
{{- if .password.secret }}
- --{{ $name }}-password-file=/etc/coffer/{{ $name }}/password
{{- end }}
{{- if and .ca (or .ca.secret .ca.configMap) }}
- --{{ $name }}-ca-file=/etc/coffer/{{ $name }}/ca.crt
{{- end }}
{{- if .clientCert.secret }}
- --{{ $name }}-cert-file=/etc/coffer/{{ $name }}/tls.crt
- --{{ $name }}-key-file=/etc/coffer/{{ $name }}/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- /* The same files, as sources of the volume of config. */}}
{{- define "coffer.connectionSources" -}}
{{- $name := .name -}}
{{- with .files }}
{{- if and .ca .ca.secret .ca.configMap }}
{{- fail (printf "%s.ca names a Secret and a ConfigMap: name one of them" $name) }}
{{- end }}
{{- if .password.secret }}
- secret:
    name: {{ .password.secret }}
    items:
      - key: {{ .password.key }}
        path: {{ $name }}/password
{{- end }}
{{- if and .ca (or .ca.secret .ca.configMap) }}
- {{ ternary "secret" "configMap" (ne .ca.secret "") }}:
    name: {{ default .ca.configMap .ca.secret }}
    items:
      - key: {{ .ca.key }}
        path: {{ $name }}/ca.crt
{{- end }}
{{- if .clientCert.secret }}
- secret:
    name: {{ .clientCert.secret }}
    items:
      - key: {{ .clientCert.certKey }}
        path: {{ $name }}/tls.crt
      - key: {{ .clientCert.keyKey }}
        path: {{ $name }}/tls.key
{{- end }}
{{- end }}
{{- end }}
