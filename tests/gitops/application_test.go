package lua

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
)

// TestApplication reads our Application into Argo CD's own type; unknown fields are errors.
func TestApplication(t *testing.T) {
	text, err := os.ReadFile("application.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, &appv1.Application{}))
}
