{{- define "keyferry.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "keyferry.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "keyferry.labels" -}}
{{ include "keyferry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The Secret with the version key; empty if each node has its own key. */}}
{{- define "keyferry.versionKeySecret" -}}
{{- if .Values.versionKey.secretName -}}
{{ .Values.versionKey.secretName }}
{{- else if .Values.versionKey.create -}}
{{ include "keyferry.name" . }}-version-key
{{- end -}}
{{- end -}}

{{/* What stands before the names of our values, where another chart depends on this one: `keyferry.`, or its alias. */}}
{{- define "keyferry.prefix" -}}
{{- range rest (splitList "/charts/" (trimSuffix "/templates" .Template.BasePath)) }}{{ . }}.{{ end -}}
{{- end -}}

{{/* Fails if a value that has no default is missing. `helm lint` does not fail. */}}
{{- define "keyferry.checkRequired" -}}
{{- $prefix := include "keyferry.prefix" . -}}
{{- $missing := list -}}
{{- if not .Values.image.repository -}}{{- $missing = append $missing (print $prefix "image.repository (where you pushed the image of `make image`)") -}}{{- end -}}
{{- if not .Values.providers -}}{{- $missing = append $missing (print $prefix "providers (which stores to serve, any of alibabacloud, aws, cce, local, openbao, vault)") -}}{{- end -}}
{{- if $missing -}}
{{- fail (printf "set %s: --set %simage.repository=registry.example.com/keyferry --set '%sproviders={aws}'" (join " and " $missing) $prefix $prefix) -}}
{{- end -}}
{{- end -}}

{{/* `image.repository` may be a whole reference, with a tag or digest. The port of a registry is no tag. */}}
{{- define "keyferry.image" -}}
{{- $image := .Values.image -}}
{{- if not (regexMatch "[:@][^/]*$" $image.repository) -}}
{{ $image.repository }}{{ ternary (printf "@%s" $image.digest) (printf ":%s" (default .Chart.AppVersion $image.tag)) (ne $image.digest "") }}
{{- else if or $image.tag $image.digest -}}
{{- $prefix := include "keyferry.prefix" . -}}
{{- fail (printf "%simage.repository has a tag or a digest (%s): remove it there, or leave %simage.tag and %simage.digest empty" $prefix $image.repository $prefix $prefix) -}}
{{- else -}}
{{ $image.repository }}
{{- end -}}
{{- end -}}

{{- define "keyferry.updateStrategy" -}}
{{- $strategy := .Values.updateStrategy -}}
type: {{ $strategy.type }}
{{- if eq $strategy.type "RollingUpdate" }}
{{- $rolling := $strategy.rollingUpdate -}}
{{- $hasSurge := not (regexMatch "^0%?$" (toString (default 0 $rolling.maxSurge))) -}}
{{- $hasUnavailable := not (regexMatch "^0%?$" (toString (default 0 $rolling.maxUnavailable))) -}}
{{- if eq $hasSurge $hasUnavailable -}}
{{- fail (printf "%supdateStrategy.rollingUpdate: Kubernetes requires that one of maxSurge and maxUnavailable is 0 and the other one is not" (include "keyferry.prefix" .)) -}}
{{- end }}
rollingUpdate: {{- toYaml $rolling | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Annotations of the pods: those of the values win. */}}
{{- define "keyferry.podAnnotations" -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" "keyferry" -}}
{{- if .Values.monitoring.annotations -}}
{{- $port := int .Values.healthPort | toString -}}
{{- $annotations = merge $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/port" $port "prometheus.io/path" "/metrics") -}}
{{- end -}}
{{- merge (deepCopy .Values.podAnnotations) $annotations | toYaml -}}
{{- end -}}

{{/* The ServiceAccount of the pods. */}}
{{- define "keyferry.serviceAccount" -}}
{{- $account := .Values.serviceAccount -}}
{{- if not (or $account.create $account.name) -}}
{{- $prefix := include "keyferry.prefix" . -}}
{{- fail (printf "set %sserviceAccount.name to the ServiceAccount that you made, because %sserviceAccount.create is false" $prefix $prefix) -}}
{{- end -}}
{{ default (include "keyferry.name" .) $account.name }}
{{- end -}}

{{/* The sections of values that the providers read: vault and openbao share one. */}}
{{- define "keyferry.stores" -}}
{{- $stores := list -}}
{{- range .Values.providers -}}{{- $stores = append $stores (ternary "vault" . (eq . "openbao")) -}}{{- end -}}
{{- $stores | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The rules of Keyferry's ClusterRole; none if no provider calls the API server. */}}
{{- define "keyferry.rules" -}}
{{- $stores := include "keyferry.stores" . | fromJsonArray -}}
{{- if or (has "alibabacloud" $stores) (has "aws" $stores) (has "cce" $stores) }}
- apiGroups: ['']
  resources: [serviceaccounts] # their annotations
  verbs: [get]
{{- end }}
{{- if and (has "aws" $stores) (not (regexMatch " AWS_(DEFAULT_)?REGION " (include "keyferry.configured" .))) }}
- apiGroups: ['']
  resources: [nodes] # the region in their labels; not needed if AWS_REGION is set
  verbs: [get]
{{- end }}
{{- if and (has "vault" $stores) .Values.vault.mintTokens }}
- apiGroups: ['']
  resources: [serviceaccounts/token] # vault.mintTokens
  verbs: [create]
{{- end }}
{{- if and (has "vault" $stores) .Values.podWatch.enabled }}
- apiGroups: ['']
  resources: [pods] # podWatch.enabled
  verbs: [list, watch]
{{- end }}
{{- if .Values.events.enabled }}
- apiGroups: ['']
  resources: [events] # events.enabled
  verbs: [create]
{{- end }}
{{- end -}}

{{/* Variables by name: our own, `env` and `credentials` of the enabled stores, then `extraEnv`. The later one wins. */}}
{{- define "keyferry.variables" -}}
{{- $stores := include "keyferry.stores" . | fromJsonArray -}}
{{- $port := int .Values.healthPort -}}
{{/* With hostNetwork two pods share their node's network during a rollout: each has a socket of its own, and the port goes from one to the next. */}}
{{- $health := ternary (printf "unix:/run/keyferry/health.sock,:%d" $port) (printf ":%d" $port) .Values.hostNetwork -}}
{{- $variables := dict
  "KEYFERRY_HEALTH_ADDRESS" (dict "value" $health)
  "KEYFERRY_NODE_NAME" (dict "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName")))
  "KEYFERRY_SHARED_IDENTITIES_VALUE" (dict "value" (print (include "keyferry.prefix" .) "sharedIdentities"))
-}}
{{- range $stores -}}
  {{- $store := get $.Values . -}}
  {{- with $secret := $store.credentials -}}
    {{- if $secret.secret -}}
      {{- range $name, $key := $secret.keys -}}
        {{- $_ := set $variables $name (dict "valueFrom" (dict "secretKeyRef" (dict "name" $secret.secret "key" $key "optional" $secret.optional))) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- range $name, $value := $store.env -}}
    {{- $_ := set $variables $name (dict "value" $value) -}}
  {{- end -}}
  {{- if and (eq . "cce") $store.oidcAudience -}}
    {{- $_ := set $variables "HUAWEICLOUD_SDK_ID_TOKEN_FILE" (dict "value" "/var/run/secrets/tokens/cce") -}}
  {{- end -}}
  {{- if and (eq . "alibabacloud") $store.gatewayCaConfigMap -}}
    {{- $_ := set $variables "KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR" (dict "value" "/etc/keyferry/gateway-ca") -}}
  {{- end -}}
{{- end -}}
{{- if and (has "vault" $stores) .Values.vault.mintTokens -}}
  {{- $_ := set $variables "KEYFERRY_VAULT_TOKEN_REQUESTS" (dict "value" "true") -}}
{{- end -}}
{{- range .Values.extraEnv -}}
  {{- $_ := set $variables .name (omit . "name") -}}
{{- end -}}
{{- toJson $variables -}}
{{- end -}}

{{/* Names of the variables that are set, between spaces. Empty ones count as absent. */}}
{{- define "keyferry.configured" -}}
{{- range $name, $variable := include "keyferry.variables" . | fromJson }} {{ if or $variable.value $variable.valueFrom }}{{ $name }}{{ end }} {{ end -}}
{{- end -}}

{{- define "keyferry.env" -}}
{{- range $name, $variable := include "keyferry.variables" . | fromJson -}}
{{ list (merge (dict "name" $name) $variable) | toYaml }}
{{ end -}}
{{- end -}}

{{/* Tokens of Keyferry's own ServiceAccount, for stores with a login by OIDC. */}}
{{- define "keyferry.tokens" -}}
{{- $stores := include "keyferry.stores" . | fromJsonArray -}}
{{- if and (has "alibabacloud" $stores) .Values.alibabacloud.oidc }}
- serviceAccountToken: {path: csi-secrets-store-provider-alibabacloud, audience: sts.aliyuncs.com, expirationSeconds: 3600}
{{- end }}
{{- if and (has "cce" $stores) .Values.cce.oidcAudience }}
- serviceAccountToken: {path: cce, audience: {{ .Values.cce.oidcAudience | quote }}, expirationSeconds: 3600}
{{- end }}
{{- end -}}

{{/* A probe by the network; with hostNetwork, by a command that uses the pod's own socket. */}}
{{- define "keyferry.probe" -}}
{{- if .context.Values.hostNetwork -}}
exec: {command: [/usr/bin/node, /keyferry.js, health, {{ .endpoint }}]}
timeoutSeconds: 10
{{- else -}}
httpGet: {path: {{ ternary "/readyz" "/healthz" (eq .endpoint "ready") }}, port: health}
timeoutSeconds: 5
{{- end -}}
{{- end -}}

{{/* Audiences of the tokens that the driver must send for pods with an identity of their own. */}}
{{- define "keyferry.audiences" -}}
{{- $of := dict
  "alibabacloud" (list "sts.aliyuncs.com")
  "aws" (list "sts.amazonaws.com" "pods.eks.amazonaws.com")
  "cce" (list "sts.huaweicloud.com")
  "openbao" (list "openbao")
  "vault" (list "vault")
-}}
{{- $audiences := list -}}
{{- range .Values.providers -}}{{- $audiences = concat $audiences (get $of . | default list) -}}{{- end -}}
{{- $audiences | uniq | sortAlpha | toJson -}}
{{- end -}}
