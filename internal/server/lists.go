package server

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	prefixInput struct {
		Prefix string `query:"prefix" doc:"Only what lies below this prefix; everything when absent" example:"production/payments/"`
	}
	listInput struct {
		Prefix string `query:"prefix" doc:"Only what lies below this prefix; everything when absent" example:"production/payments/"`
		After  string `query:"after" doc:"Begin after this path"`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most items to return"`
	}
	auditInput struct {
		// Unlike a list's, the prefix may be a path: then it selects that path.
		Prefix   string    `query:"prefix" doc:"Only entries whose path begins so: a prefix that ends in a slash, or one path" example:"production/payments/"`
		Caller   string    `query:"caller" doc:"Only this caller" example:"payments/api"`
		Action   string    `query:"action" enum:"put,rotate,read,check,metadata,list,overdue,watch,delete,audit,explain,update,versions,rollback,promote,undelete,destroy,delete-versions,undelete-versions,destroy-versions,policy,keyring-status,key-add,key-promote,key-retire,key-destroy,rewrap,root-rewrap,backup,anchor,verify" doc:"Only this action"`
		Decision string    `query:"decision" enum:"allowed,denied,failed" doc:"Only this decision"`
		Since    time.Time `query:"since" doc:"Only entries from this time on"`
		Until    time.Time `query:"until" doc:"Only entries before this time"`
		Before   int64     `query:"before" minimum:"0" doc:"Only entries with a smaller id"`
		Limit    int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most items to return"`
	}
	listOutput    struct{ Body sdk.SecretList }
	overdueOutput struct{ Body sdk.OverdueList }
	auditOutput   struct{ Body sdk.AuditList }
	verifyOutput  struct{ Body sdk.AuditReport }
)

func (a *api) registerLists(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/secrets", "listSecrets", "List secrets, never their values"), a.list)
	huma.Register(h, operation(http.MethodGet, "/v1/rotation/overdue", "listOverdue", "List secrets whose rotation is overdue"), a.overdue)
	huma.Register(h, operation(http.MethodGet, "/v1/audit", "searchAudit", "Search the audit log, newest first"), a.audit)
	huma.Register(h, operation(http.MethodPost, "/v1/audit/verify", "verifyAudit", "Verify that no row of the audit log was changed or removed"), a.verifyAudit)
}

func (a *api) list(ctx context.Context, in *listInput) (*listOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	var after secret.Path
	if in.After != "" {
		if after, err = parsePath(in.After); err != nil {
			return nil, err
		}
	}
	found, err := a.vault.List(ctx, callerOf(ctx), prefix, after, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, "list "+in.Prefix, err)
	}
	out := sdk.SecretList{Items: make([]sdk.Metadata, len(found))}
	for i, m := range found {
		out.Items[i] = metadataOf(m)
	}
	if len(found) == in.Limit {
		out.Next = found[len(found)-1].Path.String()
	}
	return &listOutput{out}, nil
}

func (a *api) overdue(ctx context.Context, in *prefixInput) (*overdueOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	found, err := a.vault.Overdue(ctx, callerOf(ctx), prefix)
	if err != nil {
		return nil, a.fail(ctx, "list what is overdue below "+in.Prefix, err)
	}
	out := sdk.OverdueList{Items: make([]sdk.Overdue, len(found))}
	for i, o := range found {
		out.Items[i] = sdk.Overdue{
			Path: o.Path.String(), Version: o.Version, RotateAfterDays: o.RotateAfterDays,
			RotatedAt: o.RotatedAt, DaysOverdue: o.DaysOverdue,
		}
	}
	return &overdueOutput{out}, nil
}

func (a *api) audit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	found, next, err := a.vault.Audit(ctx, callerOf(ctx), audit.Query{
		PathPrefix: in.Prefix, Caller: in.Caller, Action: audit.Action(in.Action), Decision: audit.Decision(in.Decision),
		Since: in.Since, Until: in.Until, Before: in.Before, Limit: in.Limit,
	})
	if err != nil {
		return nil, a.fail(ctx, "audit "+in.Prefix, err)
	}
	out := sdk.AuditList{Items: make([]sdk.AuditEntry, len(found)), Next: next}
	for i, e := range found {
		out.Items[i] = entryOf(e)
	}
	return &auditOutput{out}, nil
}

func (a *api) verifyAudit(ctx context.Context, _ *struct{}) (*verifyOutput, error) {
	report, err := a.vault.VerifyAudit(ctx, callerOf(ctx), nil)
	if err != nil {
		return nil, a.fail(ctx, "verify the audit log", err)
	}
	out := sdk.AuditReport{
		Rows: report.Rows, Writers: report.Writers, Unchained: report.Unchained, From: report.From, To: report.To,
		Findings: make([]sdk.AuditFinding, len(report.Findings)), More: report.More,
	}
	for i, f := range report.Findings {
		out.Findings[i] = sdk.AuditFinding{
			Kind: string(f.Kind), Writer: f.Writer, First: f.First, Last: f.Last, ID: f.ID, Action: f.Action, Path: f.Path,
			After: f.After, Before: f.Before, Detail: f.Detail,
		}
	}
	return &verifyOutput{out}, nil
}
