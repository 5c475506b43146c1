"""Makes the CRD, its copy in the chart, the reference pages and kustomize's references from the types."""
