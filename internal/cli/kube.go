package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/version"
)

// kubeFlags say which cluster to read, as those of kubectl do.
type kubeFlags struct {
	kubeconfig, context string
}

func (k *kubeFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster to read ($KUBECONFIG, or that of kubectl)")
	cmd.Flags().StringVar(&k.context, "context", "", "context of the kubeconfig; its current one when empty")
	_ = cmd.MarkFlagFilename("kubeconfig")
}

// cluster is a cluster to read, and the namespace that its context names.
type cluster struct {
	client.Client
	namespace string
	// where is for people: which cluster it is.
	where string
}

// connect reads the kubeconfig. It asks the cluster for nothing yet.
func (k *kubeFlags) connect() (cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: k.context})
	rest, err := config.ClientConfig()
	if err != nil {
		return cluster{}, fmt.Errorf("read the kubeconfig: %w; name one with --kubeconfig or $KUBECONFIG", err)
	}
	rest.UserAgent = "coffer/" + version.String()
	namespace, _, err := config.Namespace()
	if err != nil {
		return cluster{}, fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return cluster{}, err
		}
	}
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return cluster{}, fmt.Errorf("reach the cluster: %w", err)
	}
	return cluster{c, namespace, k.where(config, rest.Host)}, nil
}

// where names the cluster at host: by its context, where there is a kubeconfig.
func (k *kubeFlags) where(config clientcmd.ClientConfig, host string) string {
	name := k.context
	if raw, err := config.RawConfig(); err == nil && name == "" {
		name = raw.CurrentContext
	}
	if name == "" {
		return "the cluster at " + host
	}
	return fmt.Sprintf("the cluster of context %s (%s)", name, host)
}

// clusterError says what was asked of the cluster.
func clusterError(what string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return &missingError{fmt.Sprintf("%s: the cluster has none; see kubectl config current-context for which cluster it is", what)}
	case apierrors.IsForbidden(err):
		return &missingError{fmt.Sprintf("%s: the cluster does not allow it: %v", what, err)}
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// missingError is about what the cluster does not have, or does not give.
type missingError struct{ message string }

func (e *missingError) Error() string { return e.message }

// namespacedName reads NAMESPACE/NAME.
func namespacedName(flag, given string) (types.NamespacedName, error) {
	namespace, name, ok := strings.Cut(given, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return types.NamespacedName{}, usagef("--%s %q is not NAMESPACE/NAME", flag, given)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}
