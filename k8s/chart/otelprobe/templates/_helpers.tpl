{{- define "otelprobe.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "otelprobe.labels" -}}
app.kubernetes.io/name: otelprobe
app.kubernetes.io/part-of: otelprobe
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "otelprobe.selector" -}}
app.kubernetes.io/name: otelprobe
app.kubernetes.io/component: prober
{{- end }}

{{- define "otelprobe.pod.metadata" -}}
labels:
  {{- include "otelprobe.selector" . | nindent 2 }}
annotations:
  instrumentation.opentelemetry.io/inject-python: "false"
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "otelprobe.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod of ours has in common besides its containers. */}}
{{- define "otelprobe.pod.head" -}}
serviceAccountName: otelprobe
automountServiceAccountToken: false
terminationGracePeriodSeconds: 30
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "otelprobe.endpoint" -}}
{{- .Values.endpoint | default "http://otelprobe-gateway:4318" -}}
{{- end }}

{{/* The prober's container. `args`, `endpoint` and `long` (probes, health, logs) differ by mode. */}}
{{- define "otelprobe.container" -}}
{{- $root := .root -}}
name: otelprobe
image: {{ include "otelprobe.image" $root }}
{{- if ne $root.Values.image.pullPolicy "IfNotPresent" }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- end }}
args: {{- toYaml .args | nindent 2 }}
env:
  - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
  - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name=$(NAMESPACE),{{ if not .long }}k8s.cronjob.name=otelprobe,{{ end }}k8s.pod.name=$(POD),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE)
  - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
  {{- with $root.Values.location }}
  - {name: OTELPROBE_LOCATION, value: {{ . | quote }}}
  {{- end }}
  {{- if .shards }}
  - name: SHARD
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
  - {name: OTELPROBE_SHARD, value: "$(SHARD)/@/etc/otelprobe/shards/count"}
  {{- end }}
  {{- if .long }}
  - {name: OTELPROBE_LISTEN, value: ":8399"}
  - {name: OTELPROBE_LOG_FORMAT, value: json}
  {{- end }}
  - {name: OTELPROBE_STATE_DIR, value: /var/lib/otelprobe/state}
  - {name: OTELPROBE_SPOOL_DIR, value: /var/lib/otelprobe/spool}
  {{- with $root.Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if .long }}
ports:
  - {name: health, containerPort: 8399}
startupProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 10
{{- end }}
resources: {{- toYaml $root.Values.resources | nindent 2 }}
securityContext: {{- include "otelprobe.security" $root | nindent 2 }}
volumeMounts:
  - {name: flows, mountPath: /etc/otelprobe/flows, readOnly: true}
  {{- if .shards }}
  - {name: shards, mountPath: /etc/otelprobe/shards, readOnly: true}
  {{- end }}
  - {name: secrets, mountPath: /var/run/secrets/otelprobe, readOnly: true}
  {{- if $root.Values.identityAudience }}
  - {name: identity, mountPath: /var/run/secrets/otelprobe-identity, readOnly: true}
  {{- end }}
  - {name: data, mountPath: /var/lib/otelprobe}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "otelprobe.volumes" -}}
- name: flows
  configMap: {name: {{ .Values.existingFlows | default "otelprobe-flows" }}}
- name: secrets
  secret: {secretName: {{ .Values.existingSecret }}, defaultMode: 0440, optional: true}
{{- with .Values.identityAudience }}
- name: identity
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, audience: {{ . | quote }}, expirationSeconds: 600}
{{- end }}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end }}
