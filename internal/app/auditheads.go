package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// auditHeadsConfigMap keeps the heads of the audit log; the Role of the installation names it.
const auditHeadsConfigMap = "coffer-audit-heads"

// AuditHeads keeps the heads of the audit log in a ConfigMap, with a key for each vault. It is a vault.HeadsExporter.
type AuditHeads struct {
	client client.Client
	key    client.ObjectKey
}

// NewAuditHeads keeps them in the namespace of the installation.
func NewAuditHeads(config *rest.Config, namespace string) (*AuditHeads, error) {
	direct, err := client.New(config, client.Options{Scheme: newScheme()})
	if err != nil {
		return nil, fmt.Errorf("prepare the ConfigMap of the audit log's heads: %w", err)
	}
	return &AuditHeads{client: direct, key: client.ObjectKey{Namespace: namespace, Name: auditHeadsConfigMap}}, nil
}

// String names the ConfigMap.
func (a *AuditHeads) String() string { return "ConfigMap " + a.key.String() }

// Load reads the heads of the vault. A line that is not one is an error when no other line is left: a ConfigMap that was
// edited by mistake must not hide what it still says.
func (a *AuditHeads) Load(ctx context.Context, vault uuid.UUID) ([]audit.StoredHead, error) {
	var kept corev1.ConfigMap
	if err := a.client.Get(ctx, a.key, &kept); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	heads, err := audit.ParseExported(kept.Data[vault.String()])
	if len(heads) > 0 {
		return heads, nil
	}
	return nil, err
}

// Save adds heads to those of the vault, whatever other replicas add meanwhile.
func (a *AuditHeads) Save(ctx context.Context, vault uuid.UUID, heads []audit.StoredHead) error {
	taken := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	err := retry.OnError(retry.DefaultBackoff, taken, func() error { return a.save(ctx, vault, heads) })
	if err != nil {
		return fmt.Errorf("keep the audit log's heads in the %s: %w", a, err)
	}
	return nil
}

func (a *AuditHeads) save(ctx context.Context, vault uuid.UUID, heads []audit.StoredHead) error {
	var kept corev1.ConfigMap
	err := a.client.Get(ctx, a.key, &kept)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	// Lines that are not heads are dropped.
	before, _ := audit.ParseExported(kept.Data[vault.String()])
	text := audit.FormatExported(audit.MergeExported(before, heads))
	if missing {
		return a.client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: a.key.Namespace, Name: a.key.Name},
			Data:       map[string]string{vault.String(): text},
		})
	}
	if kept.Immutable != nil && *kept.Immutable {
		return errors.New("it was made immutable: delete it")
	}
	if kept.Data == nil {
		kept.Data = map[string]string{}
	}
	kept.Data[vault.String()] = text
	return a.client.Update(ctx, &kept)
}
