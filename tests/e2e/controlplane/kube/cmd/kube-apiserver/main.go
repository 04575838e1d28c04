// A real kube-apiserver, with one difference: how often it looks at its
// encryption configuration can be set, so that a test waits one second for a
// reload and not sixty. Upstream has the variable for its own tests.
package main

import (
	"fmt"
	"os"
	"time"

	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const pollVariable = "KUBE_REKEY_TEST_RELOAD_POLL"

func main() {
	if text := os.Getenv(pollVariable); text != "" {
		poll, err := time.ParseDuration(text)
		if err != nil || poll <= 0 {
			fmt.Fprintf(os.Stderr, "%s=%q is not a duration above zero\n", pollVariable, text)
			os.Exit(64)
		}
		controller.EncryptionConfigFileChangePollDuration = poll
	}
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
