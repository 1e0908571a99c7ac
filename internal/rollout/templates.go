package rollout

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// EachTemplate calls f with the pod template of every workload of the namespace, as far
// as the cache has it: the Secrets that it uses.
func (r Roller) EachTemplate(ctx context.Context, namespace string, f func(*corev1.PodSpec)) error {
	found, err := r.list(ctx, client.InNamespace(namespace), client.DisableReadYourWritesConsistency)
	if err != nil {
		return fmt.Errorf("list the workloads of %s: %w", namespace, err)
	}
	for _, w := range found {
		f(&w.Template.Spec)
	}
	return nil
}
