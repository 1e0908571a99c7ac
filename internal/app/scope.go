package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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

// Reasons for which a namespace of WatchNamespaces is left out, in the metric.
const (
	namespaceNotFound      = "NotFound"
	namespaceTerminating   = "Terminating"
	namespaceRightsMissing = "RightsMissing"
)

// leftOutError says why a namespace cannot be worked in, and what to do.
type leftOutError struct{ reason, message string }

// Error implements error.
func (e *leftOutError) Error() string { return e.message }

// limitTo leaves in c.WatchNamespaces those that can be worked in. Others are left out
// with a warning and in a metric of registerer, since a tenant who deletes a namespace or
// a RoleBinding of it must not keep the operator from starting for all; the caches would
// wait for such a one in vain. The start ends when none is left.
func limitTo(ctx context.Context, direct client.Client, c *Config, logger *slog.Logger, registerer prometheus.Registerer) error {
	if !c.limited() {
		return nil
	}
	leftOut := promauto.With(registerer).NewGaugeVec(prometheus.GaugeOpts{
		Name: "coffer_namespaces_left_out", Help: "1: the namespace of --watch-namespaces was left out when this replica started.",
	}, []string{"watch_namespace", "reason"}) // a scrape may set the label namespace to that of the pod
	var there []string
	var why []error
	for _, name := range c.WatchNamespaces {
		err := checkNamespace(ctx, direct, name)
		if err == nil {
			there = append(there, name)
			continue
		}
		left, ok := errors.AsType[*leftOutError](err)
		if !ok {
			return err
		}
		logger.WarnContext(ctx, "a namespace of --watch-namespaces is left out: nothing is looked after there; restart when it is put right",
			"namespace", name, "reason", left.reason, "error", left)
		leftOut.WithLabelValues(name, left.reason).Set(1)
		why = append(why, left)
	}
	if len(there) == 0 {
		return fmt.Errorf("none of --watch-namespaces can be worked in: put one right, or correct the list: %w", errors.Join(why...))
	}
	c.WatchNamespaces = there
	if err := checkReadable(ctx, direct, c.Namespace); err != nil {
		return err
	}
	logger.InfoContext(ctx, "limited to namespaces (--watch-namespaces): other namespaces, ClusterVaultSecrets and VaultRotations are not looked after", "namespaces", there)
	return nil
}

// checkNamespace returns nil when name exists and stays, and this process may work in it.
// A right of the whole cluster counts. What is wrong with it is a *leftOutError.
func checkNamespace(ctx context.Context, direct client.Client, name string) error {
	if err := checkReadable(ctx, direct, name); err != nil {
		return err
	}
	var namespace corev1.Namespace
	switch err := direct.Get(ctx, client.ObjectKey{Name: name}, &namespace); {
	case apierrors.IsNotFound(err):
		return &leftOutError{namespaceNotFound, "the namespace " + name + " of --watch-namespaces does not exist: make it, or leave it out"}
	case err != nil:
		return fmt.Errorf("get the namespace %s of --watch-namespaces: %w", name, err)
	case !namespace.DeletionTimestamp.IsZero():
		return &leftOutError{namespaceTerminating, "the namespace " + name + " of --watch-namespaces is being deleted: leave it out"}
	}
	return checkRole(ctx, direct, name)
}

// neededRights are those of config/limited/role.yaml without which nothing works in a
// namespace, or its caches never fill, which ends the program: an informer that may not
// list holds up the start of all. The first tells whether there is a Role at all.
func neededRights() []authorizationv1.ResourceAttributes {
	rights := []authorizationv1.ResourceAttributes{
		{Verb: "watch", Group: vaultv1alpha1.GroupVersion.Group, Resource: "vaultsecrets"},
		{Verb: "update", Group: vaultv1alpha1.GroupVersion.Group, Resource: "vaultsecrets", Subresource: "status"},
		{Verb: "list", Resource: "pods"},
		{Verb: "create", Resource: "secrets"}, {Verb: "update", Resource: "secrets"}, {Verb: "delete", Resource: "secrets"},
	}
	for _, cached := range []authorizationv1.ResourceAttributes{
		{Group: vaultv1alpha1.GroupVersion.Group, Resource: "vaultsecrets"}, {Resource: "secrets"}, {Resource: "serviceaccounts"},
		{Group: "apps", Resource: "deployments"}, {Group: "apps", Resource: "statefulsets"}, {Group: "apps", Resource: "daemonsets"},
	} {
		for _, verb := range []string{"list", "watch"} {
			cached.Verb = verb
			rights = append(rights, cached)
		}
	}
	return rights
}

// checkRole returns nil when this process has the rights in the namespace.
func checkRole(ctx context.Context, direct client.Client, name string) error {
	for i, right := range neededRights() {
		right.Namespace = name
		ok, err := may(ctx, direct, right)
		switch {
		case err != nil:
			return err
		case !ok && i == 0:
			return &leftOutError{namespaceRightsMissing, "the operator may not watch VaultSecrets in the namespace " + name +
				" of --watch-namespaces: bind the Role of config/limited there (the chart does it for watchNamespaces), or leave the namespace out"}
		case !ok:
			return &leftOutError{namespaceRightsMissing, "the operator may not " + right.Verb + " " + resourceOf(right) + " in the namespace " + name +
				" of --watch-namespaces: bring the Role of config/limited up to date there (the chart does it for watchNamespaces), or leave the namespace out"}
		}
	}
	return nil
}

// resourceOf names what a right is about as a Role does.
func resourceOf(right authorizationv1.ResourceAttributes) string {
	if right.Subresource != "" {
		return right.Resource + "/" + right.Subresource
	}
	return right.Resource
}

// checkReadable returns nil when this process may watch the namespace itself, for its
// label.
func checkReadable(ctx context.Context, direct client.Client, name string) error {
	ok, err := may(ctx, direct, authorizationv1.ResourceAttributes{Verb: "watch", Resource: "namespaces", Name: name})
	if err != nil {
		return err
	}
	if !ok {
		return &leftOutError{namespaceRightsMissing, "the operator may not read the namespace " + name +
			", whose label says its environment: name it in resourceNames of the ClusterRole of config/limited (the chart does it for watchNamespaces)"}
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
