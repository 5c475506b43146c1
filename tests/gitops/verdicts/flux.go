package main

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomize "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// check reads a Flux manifest into Flux's own type; unknown fields are errors.
func check(path string) error {
	object, err := resource(path)
	if err != nil {
		return err
	}
	var into any
	switch object.GroupVersionKind() {
	case kustomize.GroupVersion.WithKind("Kustomization"):
		into = &kustomize.Kustomization{}
	case helm.GroupVersion.WithKind("HelmRelease"):
		into = &helm.HelmRelease{}
	default:
		return fmt.Errorf("unknown kind %s", object.GroupVersionKind())
	}
	document, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(document, into)
}

// flux evaluates spec.healthCheckExprs of a Kustomization for the resource's kind.
func flux(path string, object *unstructured.Unstructured) (status.Status, error) {
	text, err := read(path)
	if err != nil {
		return "", err
	}
	var kustomization kustomize.Kustomization
	if err := yaml.UnmarshalStrict(text, &kustomization); err != nil {
		return "", err
	}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		if check.APIVersion != object.GetAPIVersion() || check.Kind != object.GetKind() {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return "", err
		}
		result, err := evaluator.Evaluate(context.Background(), object)
		if err != nil {
			return "", err
		}
		return result.Status, nil
	}
	return "", fmt.Errorf("no expressions for %s", object.GroupVersionKind())
}
