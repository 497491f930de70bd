{{- define "wmserve.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Call with (list $ component). */}}
{{- define "wmserve.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: wmserve
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Call with (list $ component). */}}
{{- define "wmserve.labels" -}}
{{- $root := index . 0 -}}
{{ include "wmserve.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Call with an image's values; values.schema.json has seen to it that there is a digest, or leave to do without. */}}
{{- define "wmserve.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end }}

{{/* What Pod Security `restricted` asks of a pod. Call with the user's number, which is its group's too. */}}
{{- define "wmserve.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What it asks of a container, and a root that cannot be written to. */}}
{{- define "wmserve.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Pods apart from each other, as far as there is room. Call with (list $ component). */}}
{{- define "wmserve.spread" -}}
{{- $scope := . -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "wmserve.selector" $scope | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{/* Where pods may run, and from where images come. Call with (list $ component's values). */}}
{{- define "wmserve.placement" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
serviceAccountName: {{ include "wmserve.name" $root }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* PromQL: work in flight in this release's gateways, each smoothed over two minutes. */}}
{{- define "wmserve.workQuery" -}}
sum(avg_over_time(wmserve_work_in_flight{namespace="{{ .Release.Namespace }}", service="{{ include "wmserve.name" . }}-gateway"}[2m]))
{{- end }}

{{/* PromQL: calls that wait for an engine, on average over two minutes. */}}
{{- define "wmserve.waitingQuery" -}}
sum(rate(wmserve_queue_seconds_total{namespace="{{ .Release.Namespace }}", service="{{ include "wmserve.name" . }}-gateway"}[2m]))
{{- end }}
