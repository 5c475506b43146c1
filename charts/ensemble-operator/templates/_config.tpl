{{/* The operator's configuration file. */}}
{{- define "ensemble-operator.config" -}}
{{- if not (hasKey .Values.releases .Values.defaultRelease) -}}
{{- fail (printf "defaultRelease: %q is not a row of releases (%s)" .Values.defaultRelease (keys .Values.releases | sortAlpha | join ", ")) -}}
{{- end -}}
toolsImage: {{ include "ensemble-operator.image" (dict "image" .Values.toolsImage "version" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
defaultRelease: {{ .Values.defaultRelease | quote }}
parallelBuilds: {{ .Values.parallelBuilds }}
clusterDomain: {{ .Values.clusterDomain }}
nodeReader: {{ include "ensemble-operator.readsNodes" . }}
watchNamespaces: {{ .Values.watchNamespaces | toJson }}
releases:
{{- range $release := keys .Values.releases | sortAlpha }}
{{- with index $.Values.releases $release }}
{{- $tag := default (printf "%s-%s" $.Chart.AppVersion $release) $.Values.builderImage.tag }}
  {{ $release | quote }}:
    serverImage: {{ .serverImage }}
    builderImage: {{ default (printf "%s:%s" $.Values.builderImage.repository $tag) .builderImage }}
    versions: {{ default dict .versions | toJson }}
{{- end }}
{{- end }}
{{- end -}}
