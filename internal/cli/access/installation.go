package access

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // OpenID Connect in kubeconfigs, as in kubectl
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What an installation has unless it is said otherwise.
const (
	DefaultNamespace = "coffer-system"
	DefaultAudience  = "coffer"
)

// Target says which installation is meant, and as whom.
type Target struct {
	// Kubeconfig is a file; client-go's loading rules when empty: $KUBECONFIG, then that
	// of kubectl.
	Kubeconfig string
	// Context of the kubeconfig; its current one when empty.
	Context string
	// Namespace of the installation; DefaultNamespace when empty.
	Namespace string
	// ServiceAccount to be, which the user of the kubeconfig may create tokens for.
	ServiceAccount types.NamespacedName
	// Audience of the token; DefaultAudience when empty.
	Audience string
	// UserAgent is sent to the API server.
	UserAgent string
}

// Installation is Coffer in a cluster that the kubeconfig gives access to. It is safe for
// concurrent use.
type Installation struct {
	target Target
	config *rest.Config
	kube   kubernetes.Interface
	now    func() time.Time

	mu             sync.Mutex
	token          string
	renew, expires time.Time

	// tunnel is nil while none was needed.
	tunnel atomic.Pointer[tunnel]
}

// Open reads the kubeconfig. It asks the cluster for nothing yet.
func Open(target Target) (*Installation, error) {
	loader := loaderOf(target)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, unreadable(err)
	}
	if len(raw.Contexts) == 0 && len(raw.Clusters) == 0 {
		return nil, &Error{
			Message: "there is no token and no kubeconfig",
			Next: `Name a kubeconfig with --kubeconfig or $KUBECONFIG and then: coffer login --as-service-account NAMESPACE/NAME
Or, without one, set COFFER_TOKEN or COFFER_TOKEN_FILE.`,
		}
	}
	if target.Context == "" {
		target.Context = raw.CurrentContext
	}
	if _, ok := raw.Contexts[target.Context]; !ok {
		return nil, &Error{
			Message: fmt.Sprintf("the kubeconfig has no context %q", target.Context),
			Next:    "See which it has: kubectl config get-contexts; then name one with --context.",
		}
	}
	config, err := loaderOf(target).ClientConfig()
	if err != nil {
		return nil, unreadable(err)
	}
	config.UserAgent = target.UserAgent
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, unreadable(err)
	}
	if target.Namespace == "" {
		target.Namespace = DefaultNamespace
	}
	if target.Audience == "" {
		target.Audience = DefaultAudience
	}
	return &Installation{target: target, config: config, kube: kube, now: time.Now}, nil
}

func loaderOf(target Target) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = target.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: target.Context})
}

func unreadable(err error) error {
	return &Error{Message: "read the kubeconfig", cause: err, Next: "Is it the one you mean? kubectl config view --minify"}
}

// Target returns the target with its defaults filled in.
func (i *Installation) Target() Target { return i.target }

// Close ends the port-forward, when there is one. It does not wait for calls under way.
func (i *Installation) Close() {
	if through := i.tunnel.Load(); through != nil {
		through.close()
	}
}
