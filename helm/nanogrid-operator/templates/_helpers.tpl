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

{{- /* The name of a cluster-scoped object: two releases of one name, in two namespaces, share none.
       dict "root" $ "name" NAME */}}
{{- define "nanogrid.clusterName" -}}
{{ .root.Release.Namespace }}:{{ .name }}
{{- end }}

{{- /* The PriorityClass of pools' pods; empty: none. It has no colon, which Kubernetes allows in names of roles only. */}}
{{- define "nanogrid.poolPriorityClass" -}}
{{- with .Values.pools.priorityClass }}
{{- if .name }}{{ .name }}
{{- else if and .create $.Values.rbac.clusterWide }}{{ $.Release.Namespace }}.{{ include "nanogrid.fullname" $ }}-pool
{{- end }}
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

{{- /* The name of the operator's service account. */}}
{{- define "nanogrid.serviceAccount" -}}
{{- include "nanogrid.accountName" (dict "name" (include "nanogrid.fullname" .) "account" .Values.serviceAccount "accountPath" "serviceAccount") }}
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
{{- required "s3.bucket is required: it stores code, inputs, outputs and results (on a test cluster: devServices.enabled=true)" .Values.s3.bucket }}
{{- end }}
{{- end }}

{{- define "nanogrid.s3Secret" -}}
{{- if .Values.devServices.enabled -}}
{{ include "nanogrid.fullname" . }}-dev
{{- else -}}
{{- .Values.s3.existingSecret }}
{{- end }}
{{- end }}

{{- /* CAs of one server, after those of all: dict "root" $ "own" TEXT */}}
{{- define "nanogrid.caBundle" -}}
{{- list .root.Values.caBundle .own | compact | join "\n" }}
{{- end }}

{{- define "nanogrid.redisUrl" -}}
{{- if .Values.devServices.enabled -}}
redis://{{ include "nanogrid.fullname" . }}-dev-redis.{{ .Release.Namespace }}.svc:6379/0
{{- else -}}
{{- required "redis.url is required: results are delivered there (on a test cluster: devServices.enabled=true)" .Values.redis.url }}
{{- end }}
{{- end }}

{{- /* Fails for values of redis that cannot work together. The messages do not repeat the URL, which may
       have a password. */}}
{{- define "nanogrid.checkRedis" -}}
{{- $redis := .Values.redis }}
{{- $parts := "^[a-z]+://([^/?#]*@)?([^/?#]*)/?([^/?#]*).*$" }}
{{- $several := contains "," (regexReplaceAll $parts $redis.url "${2}") }}
{{- if and .Values.devServices.enabled (ne $redis.mode "Standalone") }}
{{- fail (printf "redis.mode %s does not go with devServices.enabled: their Redis is one server" $redis.mode) }}
{{- end }}
{{- if eq $redis.mode "Standalone" }}
{{- if $several }}
{{- fail "redis.url names several servers, and redis.mode is Standalone: name one, or set redis.mode to Sentinel or Cluster" }}
{{- end }}
{{- else if eq $redis.mode "Sentinel" }}
{{- if not $redis.sentinel.masterName }}
{{- fail "redis.mode Sentinel requires redis.sentinel.masterName: the name of the master that the Sentinels know" }}
{{- end }}
{{- else }}
{{- if not (has (regexReplaceAll $parts $redis.url "${3}") (list "" "0")) }}
{{- fail "redis.url names a database: a Redis Cluster has only the database 0" }}
{{- end }}
{{- with include "nanogrid.compatibilityNamespace" . }}
{{- fail (printf "redis.mode Cluster requires tenancy.compatibilityNamespace=\"-\": the Redis keys of the compatibility namespace %s have no namespace, so each of them is in another slot than its stream" .) }}
{{- end }}
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

{{- /* Redis users of devServices; in other installations the name is in redis.url. */}}
{{- define "nanogrid.redisUser" -}}
{{- if .Values.devServices.enabled }}operator{{ end }}
{{- end }}

{{- define "nanogrid.gatewayRedisUser" -}}
{{- if .Values.devServices.enabled }}gateway{{ else }}{{ .Values.gateway.redis.username }}{{ end }}
{{- end }}

{{- /* Secret and key of the gateway's password: its own, or else the operator's. */}}
{{- define "nanogrid.gatewayRedisSecret" -}}
{{- if .Values.devServices.enabled }}{{ include "nanogrid.redisSecret" . }}{{ else }}{{ default .Values.redis.existingSecret .Values.gateway.redis.existingSecret }}{{ end }}
{{- end }}

{{- define "nanogrid.gatewayRedisSecretKey" -}}
{{- if .Values.devServices.enabled }}gatewayPassword{{ else if .Values.gateway.redis.existingSecret }}{{ .Values.gateway.redis.existingSecretKey }}{{ else }}{{ .Values.redis.existingSecretKey }}{{ end }}
{{- end }}

{{- define "nanogrid.routerName" -}}
{{ include "nanogrid.fullname" . }}-router
{{- end }}

{{- /* The namespace of functions: the value, or the first watched namespace, or the release's. */}}
{{- define "nanogrid.gatewayNamespace" -}}
{{- default (first .Values.watchNamespaces | default .Release.Namespace) .Values.gateway.namespace }}
{{- end }}

{{- /* The namespace with the names of the older systems; empty: none. */}}
{{- define "nanogrid.compatibilityNamespace" -}}
{{- if ne .Values.tenancy.compatibilityNamespace "-" }}
{{- default (include "nanogrid.gatewayNamespace" .) .Values.tenancy.compatibilityNamespace }}
{{- end }}
{{- end }}

{{- /* The root of the gateway's namespace in the bucket, by the operator's rule. */}}
{{- define "nanogrid.gatewayRoot" -}}
{{- $namespace := include "nanogrid.gatewayNamespace" . }}
{{- .Values.s3.prefix }}
{{- if ne $namespace (include "nanogrid.compatibilityNamespace" .) -}}
{{ $namespace }}/
{{- end }}
{{- end }}

{{- /* "true" if the operator copies its S3 keys to the jobs' namespaces. */}}
{{- define "nanogrid.replicateSecret" -}}
{{- $default := or .Values.devServices.enabled .Values.tenancy.singleTenant }}
{{- $chosen := ternary $default .Values.s3.replicateSecret (kindIs "invalid" .Values.s3.replicateSecret) }}
{{- if and (include "nanogrid.s3Secret" .) $chosen }}true{{ end }}
{{- end }}

{{- define "nanogrid.reportKeySecret" -}}
{{ include "nanogrid.fullname" . }}-report-key
{{- end }}

{{- /* Random keys that the operator creates: its variable and the name of the Secret (a JSON object). */}}
{{- define "nanogrid.generatedKeys" -}}
{{- $keys := dict }}
{{- if not .Values.results.existingKeySecret }}
{{- $_ := set $keys "NANOGRID_RESULT_KEY_MASTER" (include "nanogrid.resultKeySecret" .) }}
{{- end }}
{{- if not .Values.rbac.clusterWide }}
{{- $_ := set $keys "NANOGRID_REPORT_KEY" (include "nanogrid.reportKeySecret" .) }}
{{- end }}
{{- if and .Values.sessions.enabled (not .Values.sessions.existingKeySecret) }}
{{- $_ := set $keys "NANOGRID_SESSION_KEY" (include "nanogrid.sessionKeySecret" .) }}
{{- end }}
{{- if and .Values.egressProxy.enabled (not .Values.egressProxy.existingKeySecret) }}
{{- $_ := set $keys "NANOGRID_EGRESS_KEY" (include "nanogrid.egressKeySecret" .) }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.web.existingKeySecret) }}
{{- $_ := set $keys "NANOGRID_WEB_KEY" (include "nanogrid.webKeySecret" .) }}
{{- end }}
{{- $keys | toJson }}
{{- end }}

{{- /* A key of the operator as an environment variable: dict "root" $ "variable" NAME "secret" NAME. One
       that the operator creates is absent when it starts for the first time. */}}
{{- define "nanogrid.operatorKeyEnv" -}}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: key{{ if hasKey (include "nanogrid.generatedKeys" .root | fromJson) .variable }}, optional: true{{ end }}}}
{{- end }}

{{- /* The Secret with the S3 keys in the jobs' namespaces. Two installations that copy their keys to one
       namespace have one Secret each. */}}
{{- define "nanogrid.sandboxSecret" -}}
{{- $copied := and .Values.controllerClass (include "nanogrid.replicateSecret" .) }}
{{- .Values.s3.sandboxSecretName }}{{ if $copied }}.{{ .Values.controllerClass }}{{ end }}
{{- end }}

{{- define "nanogrid.resultKeySecret" -}}
{{- default (printf "%s-result-key" (include "nanogrid.fullname" .)) .Values.results.existingKeySecret }}
{{- end }}

{{- define "nanogrid.sessionKeySecret" -}}
{{- default (printf "%s-session-key" (include "nanogrid.fullname" .)) .Values.sessions.existingKeySecret }}
{{- end }}

{{- define "nanogrid.webKeySecret" -}}
{{- default (printf "%s-web-key" (include "nanogrid.fullname" .)) .Values.gateway.web.existingKeySecret }}
{{- end }}

{{- /* What every sandbox pod reaches, as egress rules of a NetworkPolicy (a JSON list). */}}
{{- define "nanogrid.sandboxEgress" -}}
{{- $tcp := dict "protocol" "TCP" }}
{{- $release := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $selector := include "nanogrid.selector" . | fromYaml }}
{{- $rules := list }}
{{- $dns := list }}
{{- range .Values.network.dns.peers }}{{ $dns = append $dns . }}{{ end }}
{{- $rules = append $rules (dict "to" $dns "ports" (include "nanogrid.dnsPorts" . | fromJsonArray)) }}
{{- $operator := dict "matchLabels" (merge (dict "app.kubernetes.io/component" "operator") $selector) }}
{{- $rules = append $rules (dict "to" (list (dict "namespaceSelector" $release "podSelector" $operator)) "ports" (list (dict "protocol" "TCP" "port" 8080))) }}
{{- if .Values.devServices.enabled }}
{{- $s3 := dict "matchLabels" (merge (dict "app.kubernetes.io/component" "dev-s3") $selector) }}
{{- $rules = append $rules (dict "to" (list (dict "namespaceSelector" $release "podSelector" $s3)) "ports" (list (dict "protocol" "TCP" "port" 8333))) }}
{{- else if .Values.network.s3.peers }}
{{- $rules = append $rules (dict "to" .Values.network.s3.peers "ports" (list (dict "protocol" "TCP" "port" (int .Values.network.s3.port)))) }}
{{- else }}
{{- fail "network.s3.peers is required: sandbox pods reach nothing else, so list the addresses of S3 as peers of a NetworkPolicy, for example [{ipBlock: {cidr: 10.0.128.0/20}}] for the subnets of an interface endpoint (or set network.policies=false, and isolate sandbox pods yourself)" }}
{{- end }}
{{- if .Values.network.podIdentity }}
{{- $rules = append $rules (dict "to" (list (dict "ipBlock" (dict "cidr" "169.254.170.23/32")) (dict "ipBlock" (dict "cidr" "fd00:ec2::23/128"))) "ports" (list (dict "protocol" "TCP" "port" 80))) }}
{{- end }}
{{- with .Values.network.extraEgress }}{{ $rules = concat $rules . }}{{ end }}
{{- $rules | toJson }}
{{- end }}

{{- /* The IP families of a Service */}}
{{- define "nanogrid.ipFamilyPolicy" -}}
{{- with .Values.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- end }}

{{- /* A component of the release in its own namespace, as a peer: dict "root" $ "component" NAME */}}
{{- define "nanogrid.peer" -}}
podSelector:
  matchLabels: {{- include "nanogrid.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* What may reach a component: dict "root" $ "name" NAME "component" NAME "port" N "from" PEERS
       (an empty list: everybody) */}}
{{- define "nanogrid.ingressPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "nanogrid.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - {protocol: TCP, port: {{ .port }}}
      {{- with .from }}
      from: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{- /* The peers that reach sessions: the router (a JSON list). */}}
{{- define "nanogrid.sessionIngress" -}}
{{- $release := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $router := dict "matchLabels" (merge (dict "app.kubernetes.io/component" "router") (include "nanogrid.selector" . | fromYaml)) }}
{{- list (dict "namespaceSelector" $release "podSelector" $router) | toJson }}
{{- end }}

{{- define "nanogrid.egressName" -}}
{{ include "nanogrid.fullname" . }}-egress
{{- end }}

{{- define "nanogrid.egressKeySecret" -}}
{{- default (printf "%s-key" (include "nanogrid.egressName" .)) .Values.egressProxy.existingKeySecret }}
{{- end }}

{{- /* The egress proxy, as peers of a NetworkPolicy (a JSON list). */}}
{{- define "nanogrid.egressPeers" -}}
{{- $release := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $proxy := dict "matchLabels" (merge (dict "app.kubernetes.io/component" "egress") (include "nanogrid.selector" . | fromYaml)) }}
{{- list (dict "namespaceSelector" $release "podSelector" $proxy) | toJson }}
{{- end }}

{{- /* The ports of DNS, for a NetworkPolicy (a JSON list). */}}
{{- define "nanogrid.dnsPorts" -}}
{{- $ports := list }}
{{- range .Values.network.dns.ports }}
{{- $ports = concat $ports (list (dict "protocol" "UDP" "port" (int .)) (dict "protocol" "TCP" "port" (int .))) }}
{{- end }}
{{- $ports | toJson }}
{{- end }}

{{- /* Images that no job may use as its runtime, by commas. */}}
{{- define "nanogrid.platformImages" -}}
{{- $images := list }}
{{- range list .Values.image.operator .Values.image.gateway }}
{{- $images = append $images (include "nanogrid.image" (dict "image" . "root" $)) }}
{{- end }}
{{- join "," $images }}
{{- end }}

{{- /* Secrets of the release that no job may read, by commas. */}}
{{- define "nanogrid.reservedSecrets" -}}
{{- $secrets := list (include "nanogrid.s3Secret" .) (include "nanogrid.redisSecret" .) .Values.webhook.existingSecret .Values.tracing.headersSecret (include "nanogrid.sessionKeySecret" .) (include "nanogrid.egressKeySecret" .) (include "nanogrid.webKeySecret" .) .Values.gateway.auth.tokensSecret (include "nanogrid.reportKeySecret" .) (include "nanogrid.resultKeySecret" .) (include "nanogrid.gatewayRedisSecret" .) }}
{{- range include "nanogrid.pullSecrets" . | fromJsonArray }}
{{- $secrets = append $secrets .name }}
{{- end }}
{{- $secrets | compact | uniq | join "," }}
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

{{- /* Whether sandbox pods use the node's user IDs. "auto" asks the nodes. Only an installation for the
       whole cluster may read them, and without a cluster (GitOps) there are none. Kubernetes before 1.33
       drops the field. */}}
{{- define "nanogrid.hostUsers" -}}
{{- if ne (toString .Values.sandbox.hostUsers) "auto" -}}
{{- .Values.sandbox.hostUsers }}
{{- else if or .Values.watchNamespaces (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) -}}
true
{{- else -}}
{{- $handler := "" }}
{{- with .Values.sandbox.runtimeClassName }}
{{- $handler = dig "handler" . (lookup "node.k8s.io/v1" "RuntimeClass" "" .) }}
{{- end }}
{{- $nodes := (lookup "v1" "Node" "" "").items | default list }}
{{- $able := 0 }}
{{- range $nodes }}
  {{- range .status.runtimeHandlers | default list }}
    {{- if and (eq (.name | default "") $handler) (.features | default dict).userNamespaces }}
      {{- $able = add1 $able }}
    {{- end }}
  {{- end }}
{{- end }}
{{- not (and $nodes (eq (int $able) (len $nodes))) }}
{{- end }}
{{- end }}

{{- /* Environment of a container that uses S3 with keys; the argument is the Secret's name. */}}
{{- define "nanogrid.s3KeysEnv" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_ACCESS_KEY_ID}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_SECRET_ACCESS_KEY}}
{{- end }}

{{- /* Environment of a component that assumes a role for S3: dict "root" $ "arn" ARN */}}
{{- define "nanogrid.s3RoleEnv" -}}
{{- with .arn }}
- {name: NANOGRID_S3_ROLE_ARN, value: {{ . | quote }}}
{{- end }}
{{- with .root.Values.s3.assumeRole.externalId }}
- {name: NANOGRID_S3_ROLE_EXTERNAL_ID, value: {{ . | quote }}}
{{- end }}
{{- with .root.Values.s3.stsEndpoint }}
- {name: AWS_ENDPOINT_URL_STS, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- /* The role that sync and agent of a job assume. One role for all namespaces must be a choice: it
reaches what its policy allows, for each of them. */}}
{{- define "nanogrid.sandboxRoleArn" -}}
{{- $role := .Values.s3.assumeRole }}
{{- if $role.sandboxArn }}
{{- $role.sandboxArn }}
{{- else if $role.arn }}
{{- if not (or .Values.devServices.enabled .Values.tenancy.singleTenant) }}
{{- fail "s3.assumeRole.sandboxArn is required with s3.assumeRole.arn: the role of the operator reaches the data of all namespaces. Name a role per namespace, for example arn:aws:iam::111122223333:role/nanogrid-{namespace} (or set tenancy.singleTenant=true, if all namespaces belong to one team)" }}
{{- end }}
{{- $role.arn }}
{{- end }}
{{- end }}

{{- /* Refuses what excludes IAM roles; the argument is that of nanogrid.redisEnv. */}}
{{- define "nanogrid.checkRedisIam" -}}
{{- $url := include "nanogrid.redisUrl" .root }}
{{- $userinfo := regexFind "^rediss://[^/@]*@" $url }}
{{- if not (hasPrefix "rediss://" $url) }}
{{- fail "redis.iam.cacheName requires TLS: redis.url must begin with rediss://" }}
{{- end }}
{{- if or .secret (contains ":" (trimPrefix "rediss://" $userinfo)) }}
{{- fail "redis.iam.cacheName excludes passwords: remove redis.existingSecret, gateway.redis.existingSecret and a password in redis.url" }}
{{- end }}
{{- if eq .root.Values.redis.mode "Sentinel" }}
{{- fail "redis.iam.cacheName excludes redis.mode=Sentinel: AWS has no Sentinels" }}
{{- end }}
{{- if not (or .user $userinfo) }}
{{- fail "redis.iam.cacheName requires a user: redis.url must be rediss://USER@HOST:6379/0" }}
{{- end }}
{{- end }}

{{- /* Environment of a container that uses Redis: dict "root" $ "user" NAME "secret" NAME "key" KEY */}}
{{- define "nanogrid.redisEnv" -}}
{{- include "nanogrid.checkRedis" .root }}
{{- $sentinel := .root.Values.redis.sentinel }}
- {name: NANOGRID_REDIS_URL, value: {{ include "nanogrid.redisUrl" .root | quote }}}
- {name: NANOGRID_REDIS_MODE, value: {{ .root.Values.redis.mode | quote }}}
{{- if eq .root.Values.redis.mode "Sentinel" }}
- {name: NANOGRID_REDIS_SENTINEL_MASTER, value: {{ $sentinel.masterName | quote }}}
{{- with $sentinel.username }}
- {name: NANOGRID_REDIS_SENTINEL_USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if $sentinel.existingSecret }}
- name: NANOGRID_REDIS_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $sentinel.existingSecret }}, key: {{ $sentinel.existingSecretKey }}}}
{{- end }}
{{- end }}
- {name: NANOGRID_REDIS_CA_BUNDLE, value: {{ include "nanogrid.caBundle" (dict "root" .root "own" .root.Values.redis.caBundle) | quote }}}
- {name: NANOGRID_REDIS_PREFIX, value: {{ .root.Values.redis.prefix | quote }}}
{{- with .user }}
- {name: NANOGRID_REDIS_USERNAME, value: {{ . | quote }}}
{{- end }}
{{- with .root.Values.redis.iam }}
{{- if .cacheName }}
{{- include "nanogrid.checkRedisIam" $ }}
- {name: NANOGRID_REDIS_IAM_CACHE, value: {{ .cacheName | quote }}}
- {name: NANOGRID_REDIS_IAM_SERVICE, value: {{ .service | quote }}}
- {name: NANOGRID_REDIS_IAM_REGION, value: {{ .region | quote }}}
- {name: NANOGRID_REDIS_IAM_ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
{{- end }}
{{- end }}
{{- if .secret }}
- name: NANOGRID_REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- end }}

{{- /* The spec of an Ingress for all paths of a Service: dict "name" SERVICE "ingress" VALUES */}}
{{- define "nanogrid.ingressSpec" -}}
ingressClassName: {{ .ingress.className }}
rules:
  - {{ with .ingress.host }}host: {{ . | quote }}
    {{ end }}http:
      paths:
        - path: /
          pathType: Prefix
          backend: {service: {name: {{ .name }}, port: {number: 8080}}}
{{- with .ingress.tls }}
tls: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Kind and metadata of a role in a watched namespace, or for the cluster when it is "":
       dict "root" $ "name" NAME "namespace" NAMESPACE "suffix" Role|RoleBinding */}}
{{- define "nanogrid.watchRoleHead" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if not .namespace }}Cluster{{ end }}{{ .suffix }}
metadata:
  name: {{ include "nanogrid.roleName" . }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "nanogrid.labels" .root | nindent 4 }}
{{- end }}

{{- /* The name of a role and its binding: dict "root" $ "name" NAME "namespace" NAMESPACE. Two releases of
       one name can have rights in the same namespace of jobs. */}}
{{- define "nanogrid.roleName" -}}
{{- if eq .namespace .root.Release.Namespace }}{{ .name }}{{ else }}{{ include "nanogrid.clusterName" . }}{{ end }}
{{- end }}

{{- /* The binding of that role: dict "root" $ "name" NAME "namespace" NAMESPACE "account" NAME */}}
{{- define "nanogrid.watchRoleBinding" -}}
{{ include "nanogrid.watchRoleHead" (dict "root" .root "name" .name "namespace" .namespace "suffix" "RoleBinding") }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ if not .namespace }}Cluster{{ end }}Role
  name: {{ include "nanogrid.roleName" . }}
subjects:
  - {kind: ServiceAccount, name: {{ .account }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

{{- /* A quantity of Kubernetes as a number. */}}
{{- define "nanogrid.amount" -}}
{{- $number := regexFind "^[0-9]*[.]?[0-9]*" . }}
{{- $suffix := trimPrefix $number . }}
{{- if regexMatch "^[eE][+-]?[0-9]+$" $suffix }}
{{- float64 . | printf "%f" }}
{{- else }}
{{- $factors := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 }}
{{- mulf (float64 $number) (get $factors $suffix | default 0.0) | printf "%f" }}
{{- end }}
{{- end }}

{{- /* Refuse values without a section; see _sections.tpl: dict "root" $ "path" PATH */}}
{{- define "nanogrid.checkSection" -}}
{{- $found := .root.Values }}
{{- range splitList "." .path }}
{{- if kindIs "map" $found }}{{ $found = get $found . }}{{ end }}
{{- end }}
{{- if not (kindIs "map" $found) }}
{{- fail (printf "the values have no %s: an older chart did not have it. Upgrade with --reset-then-reuse-values instead of --reuse-values, so that new values get their defaults; do not set it to null" .path) }}
{{- end }}
{{- end }}

{{- /* Refuse a quantity outside of its bounds; no value is the default. See _quantities.tpl. */}}
{{- define "nanogrid.checkQuantity" -}}
{{- if not (kindIs "invalid" .value) }}
{{- $text := kindIs "string" .value | ternary .value (printf "%.0f" (float64 .value)) }}
{{- if and .fraction (regexMatch .fraction $text) }}
{{- fail (printf "%s is %s: %s" .name $text .inBytes) }}
{{- end }}
{{- $amount := float64 (include "nanogrid.amount" $text) }}
{{- if or (lt $amount (float64 .least)) (gt $amount (float64 .most)) }}
{{- fail (printf "%s is %s: %s" .name $text .outside) }}
{{- end }}
{{- end }}
{{- end }}
