{{- /* "true" if an object of the Prometheus Operator is rendered:
       dict "root" $ "values" VALUES "path" TEXT */}}
{{- define "nanogrid.rendersMonitoring" -}}
{{- if .values.enabled }}
{{- if not .root.Values.metrics.enabled }}
{{- fail (printf "%s.enabled=true requires metrics.enabled=true" .path) }}
{{- end }}
{{- $known := .root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
{{- if and (eq .values.renderMode "failIfMissing") (not $known) }}
{{- fail (printf "%s.renderMode is failIfMissing, and the cluster does not have monitoring.coreos.com/v1: install the CRDs of the Prometheus Operator, or set skipIfMissing" .path) }}
{{- end }}
{{- if or $known (eq .values.renderMode "alwaysRender") }}true{{ end }}
{{- end }}
{{- end }}

{{- /* What the objects of the Prometheus Operator leave out because the cluster does not have them
       (a JSON list). */}}
{{- define "nanogrid.missingMonitoring" -}}
{{- $missing := list }}
{{- range $key := list "serviceMonitor" "prometheusRule" }}
{{- $values := get $.Values.metrics $key }}
{{- if and $values.enabled (not (include "nanogrid.rendersMonitoring" (dict "root" $ "values" $values "path" (printf "metrics.%s" $key)))) }}
{{- $missing = append $missing (printf "metrics.%s" $key) }}
{{- end }}
{{- end }}
{{- $missing | toJson }}
{{- end }}

{{- /* The label `installation` of all targets of the release: two releases of one name differ. */}}
{{- define "nanogrid.installation" -}}
{{ .Release.Namespace }}/{{ include "nanogrid.fullname" . }}
{{- end }}

{{- /* The groups of files/monitoring/rules.yaml for this release (YAML). */}}
{{- define "nanogrid.ruleGroups" -}}
{{- $rule := .Values.metrics.prometheusRule }}
{{- $text := .Files.Get "files/monitoring/rules.yaml" }}
{{- $text = replace "${installation}" (include "nanogrid.installation" .) $text }}
{{- $text = replace "${platformFaults}" (include "nanogrid.platformFaultReasons" .) $text }}
{{- $page := printf "%s/blob/v%s/docs/observability.md" .Chart.Home .Chart.AppVersion }}
{{- $text = replace "${runbooks}" ($rule.runbookUrl | default $page) $text }}
{{- range $name, $value := $rule.thresholds }}
{{- $text = replace (printf "${%s}" $name) (toString $value) $text }}
{{- end }}
{{- with regexFind "[$][{][A-Za-z]+[}]" $text }}
{{- fail (printf "metrics.prometheusRule has no value for %s: do not set it to null" .) }}
{{- end }}
{{- $read := fromYaml $text }}
{{- with $read.Error }}
{{- fail (printf "the rules of metrics.prometheusRule are no YAML with these values: %s" .) }}
{{- end }}
{{- $without := list }}
{{- if not .Values.gateway.enabled }}{{ $without = append $without "nanogrid-gateway" }}{{ end }}
{{- if not .Values.sessions.enabled }}{{ $without = append $without "nanogrid-router" }}{{ end }}
{{- if not .Values.egressProxy.enabled }}{{ $without = append $without "nanogrid-egress" }}{{ end }}
{{- $groups := list }}
{{- range $read.groups }}
{{- if not (has .name $without) }}{{ $groups = append $groups . }}{{ end }}
{{- end }}
{{- concat $groups $rule.additionalGroups | toYaml }}
{{- end }}
