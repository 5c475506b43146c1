package main

import (
	"encoding/json"
	"os"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
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
