{{/* Names of objects: the release, once. */}}
{{- define "ordinal.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a component; (dict "root" . "component" "dns"). */}}
{{- define "ordinal.selector" -}}
app.kubernetes.io/name: ordinal
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "ordinal.labels" -}}
{{ include "ordinal.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* What every pod has; (dict "root" . "component" "dns" "values" .Values.dns "ports" "..."). */}}
{{- define "ordinal.pod" -}}
metadata:
  labels:
    {{- include "ordinal.labels" . | nindent 4 }}
    {{- with .values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A changed configuration is a new rollout.
    checksum/config: {{ .config | sha256sum }}
    {{- with .values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "ordinal.name" .root }}-{{ .component }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .component "dns" }}
  # Its own names must not depend on itself.
  dnsPolicy: Default
  terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
  {{- end }}
  {{- if .values.topologySpread.enabled }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: {{ .values.topologySpread.topologyKey }}
      whenUnsatisfiable: {{ .values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels: {{ include "ordinal.selector" . | nindent 10 }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .component }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        - run
        - --config=/etc/ordinal/ordinal.yaml
        {{- with .values.extraArgs }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .values.extraEnv }}
      env: {{ toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- if eq .component "dns" }}
        - {name: dns, containerPort: 1053, protocol: UDP}
        - {name: dns-tcp, containerPort: 1053, protocol: TCP}
        {{- end }}
        - {name: http, containerPort: 9153, protocol: TCP}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
      livenessProbe:
        httpGet: {path: /livez, port: http}
        initialDelaySeconds: 30
        periodSeconds: 10
      resources: {{ toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/ordinal, readOnly: true}
  volumes:
    - name: config
      configMap: {name: {{ include "ordinal.name" .root }}-{{ .component }}}
{{- end }}

{{/* Configuration files. */}}
{{- define "ordinal.dns.config" -}}
{{- $base := dict "components" "dns" "log" (dict "format" "json") "dns" .Values.dns.config -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.dns.extraConfig)) }}
{{- end }}
{{- define "ordinal.controllers.config" -}}
{{- $base := dict "components" (join "," .Values.controllers.components) "log" (dict "format" "json") -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.controllers.extraConfig)) }}
{{- end }}
