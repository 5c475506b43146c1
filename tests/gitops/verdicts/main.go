// Verdicts says what GitOps tools make of documents, by their own packages.
//
//	verdicts judge HEALTH_LUA FLUX_KUSTOMIZATION FILE...
//	verdicts check FILE...
//
// Judge prints what Argo CD, kstatus (Flux, Helm, kubectl) and Flux's CEL expressions say of resources, a line of JSON
// for each. Check fails where Flux would not take one of its own manifests. FILE is YAML or JSON; "-" is standard input.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type verdicts struct {
	Argo    health        `json:"argo"`
	Kstatus status.Status `json:"kstatus"`
	Flux    status.Status `json:"flux"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) > 3 && arguments[0] == "judge":
		return each(arguments[3:], func(path string) error { return judge(arguments[1], arguments[2], path) })
	case len(arguments) > 1 && arguments[0] == "check":
		return each(arguments[1:], check)
	}
	return errors.New("usage: verdicts judge HEALTH_LUA FLUX_KUSTOMIZATION FILE... | verdicts check FILE...")
}

func each(paths []string, do func(string) error) error {
	for _, path := range paths {
		if err := do(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func judge(script, kustomization, path string) error {
	object, err := resource(path)
	if err != nil {
		return err
	}
	var found verdicts
	if found.Argo, err = argo(script, object); err != nil {
		return fmt.Errorf("%s: %w", script, err)
	}
	result, err := status.Compute(object)
	if err != nil {
		return fmt.Errorf("kstatus: %w", err)
	}
	found.Kstatus = result.Status
	if found.Flux, err = flux(kustomization, object); err != nil {
		return fmt.Errorf("%s: %w", kustomization, err)
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func resource(path string) (*unstructured.Unstructured, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	// By way of JSON, so that whole numbers are int64 as in a controller's cache.
	document, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(document)
}

func read(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path)
}
