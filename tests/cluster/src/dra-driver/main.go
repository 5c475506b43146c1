// Command dra-test-driver is Kubernetes' own driver for tests of dynamic resource allocation: its kubelet plugin
// publishes devices that exist by name alone, and gives them to containers as environment variables.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/test/e2e/dra/test-driver/app"
)

func main() {
	os.Exit(cli.Run(app.NewCommand()))
}
