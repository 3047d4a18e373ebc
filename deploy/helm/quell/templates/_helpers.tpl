{{- define "quell.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* 40 letters leave room for the role and the number of the pod: a pod's name is the instance's. */ -}}
{{- define "quell.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "quell.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "quell.selector" -}}
app.kubernetes.io/name: {{ include "quell.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "quell.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "quell.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "quell.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "quell.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "quell.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* What the chart decides, over the file: docs/configuration.md says how names become keys. */ -}}
{{- define "quell.env" -}}
- name: QUELL_CONFIG
  value: /etc/quell/config/quell.toml
- name: QUELL__instance
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: QUELL__data_dir
  value: /var/lib/quell/data
- name: QUELL__gateway__listen
  value: 0.0.0.0:8080
- name: QUELL__lookup__listen
  value: 0.0.0.0:8081
- name: QUELL__admin__listen
  value: 0.0.0.0:9464
- name: QUELL__gateway__spool__directory
  value: /var/lib/quell/spool
- name: QUELL__gateway__spool__bytes_max
  value: {{ .Values.gateway.spool.bytesMax | int64 | quote }}
- name: QUELL__engine__partitions
  value: {{ max 4 (.Values.suppressor.workers | int) | quote }}
- name: QUELL__engine__suppressor_workers
  value: {{ .Values.suppressor.workers | int | quote }}
- name: QUELL__kafka__brokers
  value: {{ .Values.kafka.brokers | quote }}
- name: QUELL__store__contact_points
  value: {{ .Values.store.contactPoints | toJson | quote }}
- name: QUELL__store__keyspace
  value: {{ .Values.store.keyspace | quote }}
{{- with .Values.store.dataCenter }}
- name: QUELL__store__data_center
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "quell.envFrom" -}}
{{- with .Values.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end -}}

{{- define "quell.mounts" -}}
- name: config
  mountPath: /etc/quell/config
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- range $n, $files := .Values.secretFiles }}
- name: secret-files-{{ $n }}
  mountPath: {{ $files.mountPath }}
  readOnly: true
{{- end }}
{{- range $n, $files := .Values.configFiles }}
- name: config-files-{{ $n }}
  mountPath: {{ $files.mountPath }}
  readOnly: true
{{- end }}
{{- end -}}

{{- /* Arguments: the root, and the name of the ConfigMap. */ -}}
{{- define "quell.volumes" -}}
- name: config
  configMap:
    name: {{ .configMap }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- range $n, $files := .root.Values.secretFiles }}
- name: secret-files-{{ $n }}
  secret:
    secretName: {{ $files.secretName }}
    defaultMode: 0440
{{- end }}
{{- range $n, $files := .root.Values.configFiles }}
- name: config-files-{{ $n }}
  configMap:
    name: {{ $files.configMapName }}
{{- end }}
{{- end -}}

{{- /* What every pod has. Arguments: the root, and the component. */ -}}
{{- define "quell.podMeta" -}}
labels:
  {{- include "quell.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .role }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ .root.Values.config | sha256sum }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "quell.podCommon" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* The pod of a role. Arguments: the root, the role, and its values. */ -}}
{{- define "quell.pod" -}}
{{- $root := .root -}}
{{- $role := .role -}}
metadata:
  {{- include "quell.podMeta" . | nindent 2 }}
spec:
  {{- include "quell.podCommon" $root | nindent 2 }}
  serviceAccountName: {{ include "quell.serviceAccountName" $root }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds | int }}
  topologySpreadConstraints:
    {{- if $root.Values.topologySpreadConstraints }}
    {{- toYaml $root.Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "quell.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $role }}
    {{- end }}
  containers:
    - name: quell
      image: {{ include "quell.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve, --role, {{ $role }}]
      env:
        {{- include "quell.env" $root | nindent 8 }}
      {{- include "quell.envFrom" $root | nindent 6 }}
      ports:
        {{- if eq $role "gateway" }}
        - {name: webhooks, containerPort: 8080}
        {{- else if eq $role "lookup" }}
        - {name: lookups, containerPort: 8081}
        {{- end }}
        - {name: admin, containerPort: 9464}
      # Alive as long as its loops move, whatever it waits for: a restart would not bring Kafka back.
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if and (has $role (list "gateway" "lookup")) (semverCompare ">=1.30-0" $root.Capabilities.KubeVersion.Version) }}
      # Load balancers learn of the end before connections are refused.
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      {{- end }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      volumeMounts:
        {{- include "quell.mounts" $root | nindent 8 }}
        - name: data
          mountPath: /var/lib/quell/data
        {{- if eq $role "gateway" }}
        - name: spool
          mountPath: /var/lib/quell/spool
        {{- end }}
  volumes:
    {{- include "quell.volumes" (dict "root" $root "configMap" (include "quell.fullname" $root)) | nindent 4 }}
    # What is remembered of the schema registry.
    - name: data
      emptyDir:
        sizeLimit: 64Mi
{{- end -}}
