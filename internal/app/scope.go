package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// limited says that this operator works in WatchNamespaces only, with rights that are
// limited to them.
func (c *Config) limited() bool { return len(c.WatchNamespaces) > 0 }

// knownNamespaces are those whose labels this process may read, and whose service
// accounts the API accepts: those it works in, and its own; all when nil.
func (c *Config) knownNamespaces() []string {
	if !c.limited() {
		return nil
	}
	known := append([]string{c.Namespace}, c.WatchNamespaces...)
	slices.Sort(known)
	return slices.Compact(known)
}

// limitTo leaves in c.WatchNamespaces those that can be worked in. One that does not
// exist is left out with a warning, since a tenant who deletes a namespace must not
// keep the operator from starting. One in which the rights are missing ends the start:
// the caches would wait for it in vain.
func limitTo(ctx context.Context, direct client.Client, c *Config, logger *slog.Logger) error {
	if !c.limited() {
		return nil
	}
	var there []string
	for _, name := range c.WatchNamespaces {
		err := checkNamespace(ctx, direct, name)
		switch {
		case apierrors.IsNotFound(err):
			logger.WarnContext(ctx, "a namespace of --watch-namespaces does not exist and is left out; restart when it does", "namespace", name)
		case err != nil:
			return err
		default:
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return errors.New("no namespace of --watch-namespaces exists: make one, or correct the list")
	}
	c.WatchNamespaces = there
	if err := checkReadable(ctx, direct, c.Namespace); err != nil {
		return err
	}
	logger.InfoContext(ctx, "limited to namespaces (--watch-namespaces): other namespaces, and ClusterVaultSecrets, are not looked after", "namespaces", there)
	return nil
}

// checkNamespace returns nil when name exists, and this process may work in it. A
// right of the whole cluster counts.
func checkNamespace(ctx context.Context, direct client.Client, name string) error {
	if err := checkReadable(ctx, direct, name); err != nil {
		return err
	}
	if err := direct.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{}); err != nil {
		return fmt.Errorf("get the namespace %s of --watch-namespaces: %w", name, err)
	}
	ok, err := may(ctx, direct, authorizationv1.ResourceAttributes{
		Verb: "watch", Group: vaultv1alpha1.GroupVersion.Group, Resource: "vaultsecrets", Namespace: name,
	})
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the operator may not watch VaultSecrets in the namespace %s of --watch-namespaces: bind the Role of config/limited there (the chart does it for watchNamespaces), or leave the namespace out", name)
	}
	return checkPods(ctx, direct, name)
}

// checkPods returns nil when this process may list the pods of the namespace. A Role from
// before rollouts were verified lacks that, and nothing else would tell until the first
// rollout.
func checkPods(ctx context.Context, direct client.Client, name string) error {
	ok, err := may(ctx, direct, authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: name})
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the operator may not list pods in the namespace %s of --watch-namespaces: bring the Role of config/limited up to date there (the chart does it for watchNamespaces), or leave the namespace out", name)
	}
	return nil
}

// checkReadable returns nil when this process may watch the namespace itself, for its
// label.
func checkReadable(ctx context.Context, direct client.Client, name string) error {
	ok, err := may(ctx, direct, authorizationv1.ResourceAttributes{Verb: "watch", Resource: "namespaces", Name: name})
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the operator may not read the namespace %s, whose label says its environment: name it in resourceNames of the ClusterRole of config/limited (the chart does it for watchNamespaces)", name)
	}
	return nil
}

func may(ctx context.Context, direct client.Client, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	if err := direct.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask the API server for the operator's own rights: %w", err)
	}
	return review.Status.Allowed, nil
}
