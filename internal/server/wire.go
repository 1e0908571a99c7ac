package server

import (
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

// metadataOf is m as the wire has it: lists are never null there.
func metadataOf(m secret.Metadata) sdk.Metadata {
	return sdk.Metadata{
		Path: m.Path.String(), Version: m.Version, Description: m.Description, Tags: m.Tags, RotateAfterDays: m.RotateAfterDays,
		Access: sdk.AccessPolicy{
			AllowedServices: orEmpty(m.Access.AllowedServices), AllowedEnvironments: orEmpty(m.Access.AllowedEnvironments),
		},
		MaxVersions: m.MaxVersions, Labels: labelsOf(m.Labels), CreatedAt: m.CreatedAt, CreatedBy: m.CreatedBy,
	}
}

func versionOf(v secret.Version) sdk.Version {
	return sdk.Version{
		Version: v.Version, Labels: labelsOf(v.Labels), State: string(v.State), CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy,
		DeletedAt: v.DeletedAt, DestroyedAt: v.DestroyedAt,
	}
}

func labelsOf(labels []secret.Label) []string {
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = string(l)
	}
	return names
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func entryOf(e audit.Entry) sdk.AuditEntry {
	return sdk.AuditEntry{
		ID: e.ID, At: e.At, Cluster: e.Cluster, CallerKind: e.CallerKind, Caller: e.Caller, Namespace: e.Namespace,
		CallerUID: e.CallerUID, Environment: e.Environment, Action: string(e.Action), Path: e.Path, Version: e.Version,
		Decision: string(e.Decision), Rule: e.Rule, Address: e.Address, RequestID: e.RequestID,
	}
}
