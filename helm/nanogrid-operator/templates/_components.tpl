{{- /* What all components of the release share. A component is a dict:
         "root"      the top context
         "component" its label: operator, gateway, router, egress
         "name"      the name of its Deployment
         "values"    .Values.operator, .Values.gateway, .Values.router or .Values.egressProxy
         "account"   its serviceAccount values
         "secrets"   names of Secrets that others create; the pods restart after an upgrade if one of
                     them changed (a list) */}}

{{- /* An image: dict "image" .Values.image.X "root" $. A repository without a registry of its own gets
       that of global.imageRegistry. */}}
{{- define "nanogrid.image" -}}
{{- $image := .image }}
{{- $repository := include "nanogrid.repository" (dict "repository" $image.repository "root" .root) }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- /* A repository with its registry: dict "repository" TEXT "root" $. The first part of a path is a
       registry if it has a dot or a colon, or is localhost. */}}
{{- define "nanogrid.repository" -}}
{{- $first := first (splitList "/" .repository) }}
{{- $own := and (contains "/" .repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) }}
{{- $registry := dig "imageRegistry" "" (.root.Values.global | default dict) | trimSuffix "/" }}
{{- if and $registry (not $own) }}{{ $registry }}/{{ end }}{{ .repository }}
{{- end }}

{{- /* Names of the pull secrets of global.imagePullSecrets (a JSON list). */}}
{{- define "nanogrid.globalPullSecrets" -}}
{{- $names := list }}
{{- range dig "imagePullSecrets" list (.Values.global | default dict) }}
{{- if kindIs "string" . }}{{ $names = append $names . }}{{ else }}{{ $names = append $names .name }}{{ end }}
{{- end }}
{{- $names | uniq | toJson }}
{{- end }}

{{- /* The pull secrets of pods in the release's namespace (a JSON list of objects). */}}
{{- define "nanogrid.pullSecrets" -}}
{{- $found := .Values.imagePullSecrets }}
{{- range include "nanogrid.globalPullSecrets" . | fromJsonArray }}
{{- $found = append $found (dict "name" .) }}
{{- end }}
{{- $found | uniq | toJson }}
{{- end }}

{{- /* The name of a component's service account. */}}
{{- define "nanogrid.accountName" -}}
{{- if .account.create }}
{{- default .name .account.name }}
{{- else }}
{{- required (printf "%s is required if %s is false" (printf "%s.name" .accountPath) (printf "%s.create" .accountPath)) .account.name }}
{{- end }}
{{- end }}

{{- /* The service account of a component, with a separator behind it; nothing if it exists already. */}}
{{- define "nanogrid.account" -}}
{{- if .account.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "nanogrid.accountName" . }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with .account.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
---
{{ end }}
{{- end }}

{{- /* Metadata of a component's pods. Labels of the chart win: Services select by them. */}}
{{- define "nanogrid.podMetadata" -}}
{{- $labels := include "nanogrid.labels" .root | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/component" .component }}
labels: {{- merge $labels .values.podLabels | toYaml | nindent 2 }}
{{- $annotations := deepCopy .values.podAnnotations }}
{{- with include "nanogrid.secretsChecksum" . }}{{ $_ := set $annotations "checksum/secrets" . }}{{ end }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A hash that changes when a Secret of the component does; nothing without a cluster (GitOps). It is
       of their versions, because a hash of their contents would help to guess a short password. */}}
{{- define "nanogrid.secretsChecksum" -}}
{{- $root := .root }}
{{- $versions := list }}
{{- range .secrets | compact | uniq | sortAlpha }}
{{- with lookup "v1" "Secret" $root.Release.Namespace . }}
{{- $versions = append $versions (printf "%s/%s/%s" .metadata.name .metadata.uid .metadata.resourceVersion) }}
{{- end }}
{{- end }}
{{- with $versions }}{{ join " " . | sha256sum }}{{ end }}
{{- end }}

{{- /* Fields of a pod's spec that all components have. */}}
{{- define "nanogrid.podFields" -}}
# Without this, a Service named nanogrid would set NANOGRID_PORT=tcp://…
enableServiceLinks: false
serviceAccountName: {{ include "nanogrid.accountName" . }}
{{- with include "nanogrid.pullSecrets" .root | fromJsonArray }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "nanogrid.override" (dict "default" (include "nanogrid.podSecurity" . | fromYaml) "values" .values.podSecurityContext) | nindent 2 }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints: {{- include "nanogrid.topologySpread" . | fromYamlArray | toYaml | nindent 2 }}
{{- end }}

{{- /* Volumes of a component: its own (a list), and those of the values; nothing if there are none:
       dict "own" LIST "values" VALUES */}}
{{- define "nanogrid.volumes" -}}
{{- with concat .own .values.extraVolumes }}
volumes: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "nanogrid.volumeMounts" -}}
{{- with concat .own .values.extraVolumeMounts }}
volumeMounts: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Variables of a component that sends traces; nothing if it sends none. What extraEnv sets is left out. */}}
{{- define "nanogrid.tracingEnv" -}}
{{- $tracing := .root.Values.tracing }}
{{- if $tracing.enabled }}
{{- $own := list }}
{{- range .values.extraEnv }}{{ $own = append $own .name }}{{ end }}
{{- if not (or $tracing.endpoint (has "OTEL_EXPORTER_OTLP_ENDPOINT" $own) (has "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" $own)) }}
{{- fail "tracing.enabled=true requires tracing.endpoint, for example http://otel-collector.observability.svc:4318" }}
{{- end }}
{{- $given := dict "NANOGRID_TRACING" "true" "OTEL_TRACES_SAMPLER" "parentbased_traceidratio" "OTEL_TRACES_SAMPLER_ARG" (toString $tracing.samplingRatio) }}
{{- with $tracing.endpoint }}{{ $_ := set $given "OTEL_EXPORTER_OTLP_ENDPOINT" . }}{{ end }}
{{- range $name, $value := $given }}
{{- if not (has $name $own) }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- if and $tracing.headersSecret (not (has "OTEL_EXPORTER_OTLP_HEADERS" $own)) }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ $tracing.headersSecret }}, key: headers}}
{{- end }}
{{- end }}
{{- end }}

{{- /* Fields of the container that all components have. */}}
{{- define "nanogrid.containerFields" -}}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "nanogrid.override" (dict "default" (include "nanogrid.containerSecurity" . | fromYaml) "values" .values.securityContext) | nindent 2 }}
resources: {{- toYaml .values.resources | nindent 2 }}
{{- end }}

{{- /* The fields of "default", each replaced by that of "values"; null removes a field. */}}
{{- define "nanogrid.override" -}}
{{- $found := deepCopy .default }}
{{- range $key, $value := .values }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $found $key }}{{ else }}{{ $_ := set $found $key $value }}{{ end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{- /* Where replicas are: by default on different nodes and zones, if that is possible. A constraint of
       the values without a labelSelector is about the component's own pods. */}}
{{- define "nanogrid.topologySpread" -}}
{{- $selector := include "nanogrid.selector" .root | fromYaml }}
{{- $_ := set $selector "app.kubernetes.io/component" .component }}
{{- $spread := .values.topologySpreadConstraints }}
{{- if not $spread }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
{{- $spread = append $spread (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway") }}
{{- end }}
{{- end }}
{{- $found := list }}
{{- range $spread }}
{{- $constraint := deepCopy . }}
{{- if not .labelSelector }}{{ $_ := set $constraint "labelSelector" (dict "matchLabels" $selector) }}{{ end }}
{{- $found = append $found $constraint }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{- /* The number of replicas that a component has at least. */}}
{{- define "nanogrid.leastReplicas" -}}
{{- if dig "autoscaling" "enabled" false .values }}{{ .values.autoscaling.minReplicas }}{{ else }}{{ .values.replicas }}{{ end }}
{{- end }}

{{- /* spec.replicas of a Deployment; nothing if an autoscaler sets it. */}}
{{- define "nanogrid.replicas" -}}
{{- if not (dig "autoscaling" "enabled" false .values) }}
replicas: {{ .values.replicas }}
{{- end }}
{{- end }}

{{- /* The PodDisruptionBudget and the HorizontalPodAutoscaler of a component, each with a separator in
       front of it. */}}
{{- define "nanogrid.availability" -}}
{{- if gt (int (include "nanogrid.leastReplicas" .)) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- default (dict "maxUnavailable" 1) .values.podDisruptionBudget | toYaml | nindent 2 }}
  selector:
    matchLabels: {{- include "nanogrid.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- if dig "autoscaling" "enabled" false .values }}
{{- $scaling := .values.autoscaling }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- fail (printf "%s.autoscaling: minReplicas %d is more than maxReplicas %d" .component (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $scaling.targetCPUUtilizationPercentage }}}
    {{- with $scaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The HTTPRoute of a component for all paths, with a separator in front of it. */}}
{{- define "nanogrid.httpRoute" -}}
{{- $route := .values.httpRoute }}
{{- if $route.enabled }}
{{- if not $route.parentRefs }}
{{- fail (printf "%s.httpRoute.parentRefs is required: name the Gateway, for example [{name: public, namespace: gateways}]" .component) }}
{{- end }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ .name }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with $route.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs: {{- toYaml $route.parentRefs | nindent 4 }}
  {{- with $route.hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /}
      backendRefs:
        - {name: {{ .name }}, port: 8080}
      {{- with $route.timeouts }}
      timeouts: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}

{{- /* Annotations of an object that exists while `helm test` runs; the argument is its weight. */}}
{{- define "nanogrid.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}
