{{- define "nanogrid.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "nanogrid.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains "nanogrid" .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "nanogrid.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "nanogrid.selector" -}}
app.kubernetes.io/name: {{ include "nanogrid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nanogrid.labels" -}}
{{ include "nanogrid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: nanogrid
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nanogrid.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "nanogrid.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* image: dict "image" .Values.image.X "chart" .Chart */}}
{{- define "nanogrid.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{- define "nanogrid.s3Endpoint" -}}
{{- if .Values.devServices.enabled -}}
http://{{ include "nanogrid.fullname" . }}-dev-s3.{{ .Release.Namespace }}.svc:8333
{{- else -}}
{{- .Values.s3.endpoint }}
{{- end }}
{{- end }}

{{- define "nanogrid.s3Bucket" -}}
{{- if .Values.devServices.enabled -}}
{{- .Values.devServices.bucket }}
{{- else -}}
{{- required "s3.bucket is needed: code, inputs, outputs and results live there (or devServices.enabled=true on a test cluster)" .Values.s3.bucket }}
{{- end }}
{{- end }}

{{- define "nanogrid.s3Secret" -}}
{{- if .Values.devServices.enabled -}}
{{ include "nanogrid.fullname" . }}-dev
{{- else -}}
{{- .Values.s3.existingSecret }}
{{- end }}
{{- end }}

{{- define "nanogrid.redisUrl" -}}
{{- if .Values.devServices.enabled -}}
redis://{{ include "nanogrid.fullname" . }}-dev-redis.{{ .Release.Namespace }}.svc:6379/0
{{- else -}}
{{- required "redis.url is needed: where results are delivered (or devServices.enabled=true on a test cluster)" .Values.redis.url }}
{{- end }}
{{- end }}

{{- define "nanogrid.redisSecret" -}}
{{- if .Values.devServices.enabled -}}
{{ include "nanogrid.fullname" . }}-dev
{{- else -}}
{{- .Values.redis.existingSecret }}
{{- end }}
{{- end }}

{{- define "nanogrid.redisSecretKey" -}}
{{- if .Values.devServices.enabled }}password{{ else }}{{ .Values.redis.existingSecretKey }}{{ end }}
{{- end }}

{{- define "nanogrid.routerName" -}}
{{ include "nanogrid.fullname" . }}-router
{{- end }}

{{- /* The namespace of functions: as given, or the first that is watched, or the release's. */}}
{{- define "nanogrid.gatewayNamespace" -}}
{{- default (first .Values.watchNamespaces | default .Release.Namespace) .Values.gateway.namespace }}
{{- end }}

{{- define "nanogrid.sessionKeySecret" -}}
{{- default (printf "%s-session-key" (include "nanogrid.fullname" .)) .Values.sessions.existingKeySecret }}
{{- end }}

{{- define "nanogrid.webKeySecret" -}}
{{- default (printf "%s-web-key" (include "nanogrid.fullname" .)) .Values.gateway.web.existingKeySecret }}
{{- end }}

{{- define "nanogrid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "nanogrid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
