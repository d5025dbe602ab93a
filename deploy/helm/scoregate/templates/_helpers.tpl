{{/* What a pod that another chart writes needs: the container, the volumes. Called there as
     include "scoregate.sidecar" .Subcharts.scoregate */}}

{{- define "scoregate.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "scoregate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "scoregate.labels" -}}
{{ include "scoregate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "scoregate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "scoregate.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secret of the keys; empty where there is none. */}}
{{- define "scoregate.keysSecret" -}}
{{- if .Values.keys.existingSecret -}}
{{- .Values.keys.existingSecret -}}
{{- else if .Values.keys.create -}}
{{- printf "%s-keys" (include "scoregate.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "scoregate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* gateway.yaml: what the chart decides, then what the values say. */}}
{{- define "scoregate.config" -}}
{{- $store := dict "directory" "/var/lib/scoregate/store" -}}
{{- if .Values.etcd.endpoints -}}
{{- $etcd := dict "endpoints" .Values.etcd.endpoints -}}
{{- if .Values.etcd.user -}}
{{- $_ := set $etcd "user" (dict "name" .Values.etcd.user "password" "file:/etc/scoregate/etcd/password") -}}
{{- end -}}
{{- if .Values.etcd.privateCa -}}
{{- $_ := set $etcd "tls" (dict "ca" "/etc/scoregate/etcd/ca.crt") -}}
{{- end -}}
{{- $_ := set $store "etcd" $etcd -}}
{{- $_ := set $store "master_key" "file:/etc/scoregate/etcd/master.key" -}}
{{- end -}}
{{- $ports := .Values.ports -}}
{{- $listeners := dict
      "traffic" (list (dict "address" (printf "0.0.0.0:%d" (int $ports.traffic))))
      "management" (dict "address" (printf "127.0.0.1:%d" (int $ports.management)))
      "health" (dict "address" (printf "0.0.0.0:%d" (int $ports.health))) -}}
{{- $config := dict "listeners" $listeners "store" $store -}}
{{- if .Values.management.existingSecret -}}
{{- $_ := set $config "management_keys" (dict "owner" (dict "key" "file:/etc/scoregate/management/owner" "role" "owner")) -}}
{{- end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.gateway) | toYaml -}}
{{- end -}}

{{- define "scoregate.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "scoregate.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "scoregate.container" -}}
name: scoregate
image: {{ include "scoregate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/scoregate/config/gateway.yaml{{ range .Values.extraArgs }}, {{ . | quote }}{{ end }}]
env:
  # For `scoregate health` and whoever looks into the container.
  - {name: SCOREGATE_CONFIG, value: /etc/scoregate/config/gateway.yaml}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: traffic, containerPort: {{ .Values.ports.traffic }}, protocol: TCP}
  - {name: health, containerPort: {{ .Values.ports.health }}, protocol: TCP}
startupProbe: {httpGet: {path: /startupz, port: health}, periodSeconds: 1, failureThreshold: 60}
readinessProbe: {httpGet: {path: /readyz, port: health}, periodSeconds: 5}
livenessProbe: {httpGet: {path: /livez, port: health}, periodSeconds: 10}
{{- if .Values.preStopSleepSeconds }}
lifecycle: {preStop: {sleep: {seconds: {{ .Values.preStopSleepSeconds }}}}}
{{- end }}
securityContext:
  {{- include "scoregate.securityContext" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  # Directories, never subPath: a file that is mounted by subPath does not change any more.
  - {name: scoregate-config, mountPath: /etc/scoregate/config, readOnly: true}
  - {name: scoregate-state, mountPath: /var/lib/scoregate}
  {{- if include "scoregate.keysSecret" . }}
  - {name: scoregate-keys, mountPath: /etc/scoregate/keys, readOnly: true}
  {{- end }}
  {{- if .Values.management.existingSecret }}
  - {name: scoregate-management, mountPath: /etc/scoregate/management, readOnly: true}
  {{- end }}
  {{- if .Values.etcd.endpoints }}
  - {name: scoregate-etcd, mountPath: /etc/scoregate/etcd, readOnly: true}
  {{- end }}
  {{- range .Values.secrets }}
  - {name: scoregate-{{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The container as a sidecar: below initContainers where it is native, else below containers. */}}
{{- define "scoregate.sidecar" -}}
{{ include "scoregate.container" . }}
{{- if .Values.sidecar.native }}
restartPolicy: Always
{{- end }}
{{- end -}}

{{- define "scoregate.volumes" -}}
- {name: scoregate-config, configMap: {name: {{ include "scoregate.fullname" . }}}}
- {name: scoregate-state, emptyDir: {sizeLimit: 1Gi}}
{{- with include "scoregate.keysSecret" . }}
- {name: scoregate-keys, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.management.existingSecret }}
- {name: scoregate-management, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.etcd.endpoints }}
- {name: scoregate-etcd, secret: {secretName: {{ required "etcd.existingSecret: want a Secret with master.key" .Values.etcd.existingSecret }}, defaultMode: 0440}}
{{- end }}
{{- range .Values.secrets }}
- {name: scoregate-{{ .name }}, secret: {secretName: {{ .existingSecret }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What cannot be right, told before anything is installed. */}}
{{- define "scoregate.check" -}}
{{- $many := or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- if and (ne .Values.mode "library") $many (not .Values.etcd.endpoints) -}}
{{- range $name, $service := .Values.gateway.services -}}
{{- with $service.auth -}}
{{- if and (hasKey . "token") (has "own" (.token.issuers | default (list "own"))) -}}
{{- fail (printf "gateway.services.%s: several gateways without etcd.endpoints sign tokens with keys of their own, and refuse those of the others" $name) -}}
{{- end -}}
{{- if and (hasKey . "key") (not (hasKey (.key | default dict) "keys")) -}}
{{- fail (printf "gateway.services.%s: several gateways without etcd.endpoints make keys of their own; want keys.directory, or etcd.endpoints" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
