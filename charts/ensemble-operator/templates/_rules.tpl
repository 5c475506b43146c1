{{/* Whether it reads Nodes: always where it works cluster-wide, else where it is let. */}}
{{- define "ensemble-operator.readsNodes" -}}
{{- or .Values.nodeReader (not .Values.watchNamespaces) -}}
{{- end -}}

{{/* What the operator may do where it works. It reads no Secrets. */}}
{{- define "ensemble-operator.rules" -}}
- apiGroups: [ensembles.dev]
  resources: [inferenceensembles]
  verbs: [get, list, watch, patch]
- apiGroups: [ensembles.dev]
  resources: [inferenceensembles/status]
  verbs: [patch]
# Needed to own objects where the cluster enforces permissions on owner references.
- apiGroups: [ensembles.dev]
  resources: [inferenceensembles/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Only where the cluster has KEDA, and spec.autoscaling.keda is used.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Only of ensembles with spec.gateway; where the Gateway API is not installed this allows nothing.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [get, list, create, patch, delete]
# What Kueue says of a build that waits in spec.build.queueName; without Kueue this allows nothing.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
{{- end -}}
