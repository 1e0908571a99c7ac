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
		CreatedAt: m.CreatedAt, CreatedBy: m.CreatedBy,
	}
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
