{{/* Name of the operator's own objects. */}}
{{- define "hoft.name" -}}
{{ .Values.nameOverride | default "hoft-operator" }}
{{- end }}

{{/* Labels that select the operator's pods; a Deployment's selector can never change, so no version is in them. */}}
{{- define "hoft.selector" -}}
app.kubernetes.io/name: hoft-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "hoft.labels" -}}
{{ include "hoft.selector" . }}
app.kubernetes.io/part-of: hoft
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Full name of an image: (dict "image" … "chart" .Chart). A digest goes before a tag. */}}
{{- define "hoft.image" -}}
{{- with .image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}
{{- with .image.digest }}@{{ . }}{{ else }}:{{ .image.tag | default .chart.AppVersion }}{{ end }}
{{- end }}

{{/* "true" if the MutatingAdmissionPolicy is installed, else empty. */}}
{{- define "hoft.policy" -}}
{{- $wanted := toString .Values.injection.policy -}}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")) }}true{{ end }}
{{- end }}

{{/* "true" if the webhook is installed, else empty. */}}
{{- define "hoft.webhook" -}}
{{- $wanted := toString .Values.injection.webhook -}}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") (not (include "hoft.policy" .))) }}true{{ end }}
{{- end }}

{{/* "true" if an object of the Prometheus operator is installed: (dict "wanted" … "kind" … "capabilities" .Capabilities). */}}
{{- define "hoft.monitored" -}}
{{- $wanted := toString .wanted -}}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") (.capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind))) }}true{{ end }}
{{- end }}

{{/* What the operator may do with peerings and what belongs to them. */}}
{{- define "hoft.peeringRules" -}}
# The webhook reads the one peering that a pod names; everything else is watched.
- apiGroups: [hoft.dev]
  resources: [tunnelpeerings]
  verbs: [{{ if include "hoft.webhook" . }}get, {{ end }}list, watch]
- apiGroups: [hoft.dev]
  resources: [tunnelpeerings/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# Immutable and named by their content: made, never read or changed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# Generated keys are handed over once and cannot be read back: no Secret of any peering can.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [services]
  verbs: [create, delete, get, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
