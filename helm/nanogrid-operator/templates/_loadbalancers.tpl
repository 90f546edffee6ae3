{{- /* "true" if annotations of the AWS Load Balancer Controller belong on an Ingress; the argument has
       className and controller. */}}
{{- define "nanogrid.isAlb" -}}
{{- if eq (default .className .controller) "alb" }}true{{ end }}
{{- end }}

{{- /* Annotations of an Ingress (a JSON object): dict "ingress" VALUES "annotations" MAP. Those of the AWS
       Load Balancer Controller are left out for another controller. */}}
{{- define "nanogrid.ingressAnnotations" -}}
{{- $alb := include "nanogrid.isAlb" .ingress }}
{{- $found := dict }}
{{- range $key, $value := .annotations }}
{{- if or $alb (not (hasPrefix "alb.ingress.kubernetes.io/" $key)) }}{{ $_ := set $found $key $value }}{{ end }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{- /* The annotations of the router's Ingress (YAML). Those in router.ingress.annotations win. The chart
       adds those of the AWS Load Balancer Controller only if that controller makes the load balancer. */}}
{{- define "nanogrid.routerIngressAnnotations" -}}
{{- $ingress := .Values.router.ingress }}
{{- $health := $ingress.healthCheck }}
{{- $alb := "alb.ingress.kubernetes.io" }}
{{- $own := dict }}
{{- if include "nanogrid.isAlb" $ingress }}
{{- $own = dict
  (printf "%s/scheme" $alb) $ingress.scheme
  (printf "%s/target-type" $alb) "ip"
  (printf "%s/backend-protocol" $alb) "HTTP"
  (printf "%s/healthcheck-path" $alb) "/readyz"
  (printf "%s/healthcheck-interval-seconds" $alb) ($health.intervalSeconds | toString)
  (printf "%s/healthcheck-timeout-seconds" $alb) ($health.timeoutSeconds | toString)
  (printf "%s/healthy-threshold-count" $alb) ($health.healthyThreshold | toString)
  (printf "%s/unhealthy-threshold-count" $alb) ($health.unhealthyThreshold | toString)
  (printf "%s/success-codes" $alb) "200"
  (printf "%s/target-group-attributes" $alb) (printf "deregistration_delay.timeout_seconds=%d,stickiness.enabled=%t,stickiness.type=lb_cookie,stickiness.lb_cookie.duration_seconds=%d" (int64 $ingress.deregistrationDelaySeconds) $ingress.stickiness.enabled (int64 $ingress.stickiness.durationSeconds))
  (printf "%s/load-balancer-attributes" $alb) (printf "idle_timeout.timeout_seconds=%d" (int64 $ingress.idleTimeoutSeconds)) }}
{{- with $ingress.groupName }}
{{- $_ := set $own (printf "%s/group.name" $alb) . }}
{{- end }}
{{- end }}
{{- merge (dict) ($ingress.annotations | default dict) $own | toYaml }}
{{- end }}

{{- /* The URL of the router for clients: the value, or the public one of its Ingress, or its Service. */}}
{{- define "nanogrid.sessionUrl" -}}
{{- $ingress := .Values.router.ingress }}
{{- if .Values.sessions.url }}
{{- .Values.sessions.url }}
{{- else if and $ingress.enabled $ingress.host }}
{{- $annotations := include "nanogrid.routerIngressAnnotations" . | fromYaml }}
{{- $secure := or $ingress.tls (get $annotations "alb.ingress.kubernetes.io/certificate-arn") }}
{{- $ports := ternary (dict "HTTPS" 443) (dict "HTTP" 80) (not (empty $secure)) }}
{{- with get $annotations "alb.ingress.kubernetes.io/listen-ports" }}
{{- $ports = dict }}
{{- range fromJsonArray . }}{{ $ports = merge $ports . }}{{ end }}
{{- end }}
{{- $scheme := hasKey $ports "HTTPS" | ternary "https" "http" }}
{{- $port := int (get $ports (upper $scheme)) }}
{{- $usual := eq $port (eq $scheme "https" | ternary 443 80) }}
{{- printf "%s://%s%s" $scheme $ingress.host ($usual | ternary "" (printf ":%d" $port)) }}
{{- else }}
{{- printf "http://%s.%s.svc:8080" (include "nanogrid.routerName" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{- /* Refuse annotations with which the AWS Load Balancer Controller makes no load balancer. */}}
{{- define "nanogrid.checkLoadBalancers" -}}
{{- $ingresses := dict }}
{{- if and .Values.sessions.enabled .Values.router.ingress.enabled }}
{{- $_ := set $ingresses "router.ingress" (include "nanogrid.routerIngressAnnotations" . | fromYaml) }}
{{- end }}
{{- if and .Values.gateway.enabled .Values.gateway.ingress.enabled }}
{{- $_ := set $ingresses "gateway.ingress" (include "nanogrid.ingressAnnotations" (dict "ingress" .Values.gateway.ingress "annotations" .Values.gateway.ingress.annotations) | fromJson) }}
{{- end }}
{{- if and .Values.sessions.enabled (has "Ingress" .Values.sessions.expose) }}
{{- $_ := set $ingresses "sessions.ingress" (include "nanogrid.ingressAnnotations" (dict "ingress" .Values.sessions.ingress "annotations" .Values.sessions.ingress.annotations) | fromJson) }}
{{- end }}
{{- $alb := "alb.ingress.kubernetes.io" }}
{{- $seen := dict }}
{{- range $name, $annotations := $ingresses }}
{{- $interval := get $annotations (printf "%s/healthcheck-interval-seconds" $alb) | default "15" }}
{{- $timeout := get $annotations (printf "%s/healthcheck-timeout-seconds" $alb) | default "5" }}
{{- if ge (int $timeout) (int $interval) }}
{{- fail (printf "%s: the timeout of the health check is %s s and its interval %s s, and AWS refuses such a target group: set %s/healthcheck-timeout-seconds below the interval" $name $timeout $interval $alb) }}
{{- end }}
{{- with get $annotations (printf "%s/group.name" $alb) }}
{{- $attributes := dict "scheme" (get $annotations (printf "%s/scheme" $alb)) }}
{{- range splitList "," (get $annotations (printf "%s/load-balancer-attributes" $alb)) }}
{{- $pair := splitn "=" 2 . }}
{{- if $pair._1 }}{{ $_ := set $attributes (trim $pair._0) (trim $pair._1) }}{{ end }}
{{- end }}
{{- $group := . }}
{{- range $attribute, $value := $attributes }}
{{- $key := printf "%s %s" $group $attribute }}
{{- $other := get $seen $key | default dict }}
{{- if and $other $value (ne $other.value $value) }}
{{- fail (printf "%s and %s are in the group %s, so they share a load balancer, but its %s is %s in one and %s in the other: give them different groups, or the same value" $other.name $name $group $attribute $other.value $value) }}
{{- end }}
{{- if $value }}{{ $_ := set $seen $key (dict "name" $name "value" $value) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
