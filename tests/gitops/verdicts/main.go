// Verdicts says what Argo CD, kstatus (Flux, Helm, kubectl) and Flux's CEL expressions make of resources.
//
//	verdicts HEALTH_LUA FLUX_KUSTOMIZATION FILE...
//
// FILE is a YAML or JSON document; "-" is standard input. One line of JSON for each file.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdicts struct {
	Argo    health        `json:"argo"`
	Kstatus status.Status `json:"kstatus"`
	Flux    status.Status `json:"flux"`
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: verdicts HEALTH_LUA FLUX_KUSTOMIZATION FILE...")
		os.Exit(2)
	}
	for _, path := range os.Args[3:] {
		found, err := judge(os.Args[1], os.Args[2], path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
		if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func judge(script, kustomization, path string) (*verdicts, error) {
	object, err := resource(path)
	if err != nil {
		return nil, err
	}
	var found verdicts
	if found.Argo, err = argo(script, object); err != nil {
		return nil, fmt.Errorf("%s: %w", script, err)
	}
	result, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	found.Kstatus = result.Status
	if found.Flux, err = flux(kustomization, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kustomization, err)
	}
	return &found, nil
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

// argo runs a health script as Argo CD runs those of argocd-cm: without the standard libraries, but with the base,
// package and table ones.
func argo(path string, object *unstructured.Unstructured) (health, error) {
	var found health
	script, err := os.ReadFile(path)
	if err != nil {
		return found, err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return found, err
		}
	}
	document, err := object.MarshalJSON()
	if err != nil {
		return found, err
	}
	value, err := luajson.Decode(state, document)
	if err != nil {
		return found, err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(string(script)); err != nil {
		return found, err
	}
	answer, err := luajson.Encode(state.Get(-1))
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal(answer, &found)
}

// flux evaluates spec.healthCheckExprs of a Kustomization for the resource's kind.
func flux(path string, object *unstructured.Unstructured) (status.Status, error) {
	kustomization, err := resource(path)
	if err != nil {
		return "", err
	}
	var spec struct {
		Spec struct {
			Checks []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	document, err := kustomization.MarshalJSON()
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(document, &spec); err != nil {
		return "", err
	}
	for _, check := range spec.Spec.Checks {
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
