{{- /* Metrics of the components, on a port of their own. */}}

{{- /* The names of the installed components by their labels (a JSON object). */}}
{{- define "nanogrid.metricsNames" -}}
{{- $names := dict "operator" (include "nanogrid.fullname" .) }}
{{- if .Values.gateway.enabled }}{{ $_ := set $names "gateway" (printf "%s-gateway" (include "nanogrid.fullname" .)) }}{{ end }}
{{- if .Values.sessions.enabled }}{{ $_ := set $names "router" (include "nanogrid.routerName" .) }}{{ end }}
{{- if .Values.egressProxy.enabled }}{{ $_ := set $names "egress" (include "nanogrid.egressName" .) }}{{ end }}
{{- toJson $names }}
{{- end }}

{{- /* The container's port; nothing without metrics. */}}
{{- define "nanogrid.metricsPort" -}}
{{- if .Values.metrics.enabled -}}
- {name: metrics, containerPort: {{ .Values.metrics.port | int }}}
{{- end }}
{{- end }}

{{- /* The environment variables of the port, where 0 serves nothing, and of the version. */}}
{{- define "nanogrid.metricsEnv" -}}
- {name: NANOGRID_VERSION, value: {{ .Chart.AppVersion | quote }}}
- {name: NANOGRID_METRICS_PORT, value: {{ .Values.metrics.enabled | ternary .Values.metrics.port 0 | int | quote }}}
{{- end }}
