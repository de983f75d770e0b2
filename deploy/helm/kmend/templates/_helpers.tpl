{{/*
Templates for other charts. With kmend as a dependency, in the chart's own Deployment:

  template:
    metadata:
      labels: {{- include "kmend.podLabels" .Subcharts.kmend | nindent 8 }}
    spec:
      initContainers:
        {{- include "kmend.sidecar" .Subcharts.kmend | nindent 8 }}
        # the app's own after it
      volumes:
        {{- include "kmend.volumes" .Subcharts.kmend | nindent 8 }}
*/}}

{{- define "kmend.labels" -}}
app.kubernetes.io/name: kmend
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "kmend.podLabels" -}}
kmend.io/sidecar: "true"
{{- end -}}

{{- define "kmend.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "kmend.adminPort" -}}
{{ regexFind "[0-9]+$" .Values.config.admin.address }}
{{- end -}}

{{/* One entry of initContainers; has to be the first. */}}
{{- define "kmend.sidecar" -}}
- name: kmend
  image: {{ include "kmend.image" . }}
  {{- with .Values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  args: [run, --config, /etc/kmend/kmend.yaml]
  # This makes it a sidecar: it starts before what follows, and ends after the app.
  restartPolicy: Always
  ports:
    - name: kmend-admin
      containerPort: {{ include "kmend.adminPort" . }}
  startupProbe:
    httpGet:
      path: /readyz
      port: kmend-admin
    periodSeconds: 1
    failureThreshold: 30
  # Lenient: a restart cuts the app's connections.
  livenessProbe:
    httpGet:
      path: /livez
      port: kmend-admin
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- with .Values.sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: kmend-config
      mountPath: /etc/kmend
      readOnly: true
    - name: kmend-state
      mountPath: /var/lib/kmend
    {{- range .Values.sidecar.secrets }}
    - name: kmend-{{ .name }}
      mountPath: {{ .mountPath }}
      readOnly: true
    {{- end }}
{{- end -}}

{{/* Entries of volumes. */}}
{{- define "kmend.volumes" -}}
- name: kmend-config
  configMap:
    name: {{ .Values.configMap.name }}
- name: kmend-state
  emptyDir:
    sizeLimit: {{ .Values.sidecar.stateSize }}
{{- range .Values.sidecar.secrets }}
- name: kmend-{{ .name }}
  secret:
    secretName: {{ .name }}
{{- end }}
{{- end -}}

{{/* A map of strings as CEL writes it. */}}
{{- define "kmend.celMap" -}}
{ {{- $parts := list }}{{- range $key, $value := . }}{{- $parts = append $parts (printf "'%s': '%v'" $key $value) }}{{- end }}{{ join ", " $parts }}}
{{- end -}}

{{/* Namespaces of a list, or the release's. */}}
{{- define "kmend.namespaces" -}}
{{- .list | default (list .root.Release.Namespace) | toJson -}}
{{- end -}}
