{{/* CEL: the Secrets that the sources of a model (or of one of its versions) name, in one string with spaces
     between; given the CEL variable. */}}
{{- define "ensemble-operator.sourceSecrets" -}}
((
  [?{{ . }}.?dali.?source, ?{{ . }}.?tensorrt.?source, ?{{ . }}.?onnxruntime.?source, ?{{ . }}.?python.?source,
   ?{{ . }}.?python.?environment.?source, ?{{ . }}.?files]
  + {{ . }}.?labels.orValue([]).map(l, l.source)
  + {{ . }}.?extraFiles.orValue([]).map(f, f.source)
  + {{ . }}.?dali.?plugins.orValue([]) + {{ . }}.?tensorrt.?plugins.orValue([])
  + {{ . }}.?tensorrt.?export.?inputs.orValue([]).map(i, i.source)
  + {{ . }}.?onnxruntime.?export.?inputs.orValue([]).map(i, i.source)
).filter(s, has(s.secretName)).map(s, s.secretName)
+ ({{ . }}.?dali.?samples.orValue([]) + {{ . }}.?dali.?verification.?samples.orValue([])).map(p,
    p.inputs.filter(i, has(i.source.secretName)).map(i, i.source.secretName).join(' '))
+ {{ . }}.?tensorrt.?verification.?samples.orValue([]).map(p,
    (p.inputs + p.?outputs.orValue([])).filter(i, has(i.source.secretName)).map(i, i.source.secretName).join(' '))
).join(' ')
{{- end -}}

{{/* A check costs a third of what one CEL expression may, and a 28th of what a whole policy may. */}}
{{- define "ensemble-operator.checkedSecrets" -}}20{{- end -}}
