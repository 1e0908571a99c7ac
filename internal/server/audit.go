package server

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	auditInput struct {
		// Unlike a list's, the prefix may be a path: then it selects that path.
		Prefix   string      `query:"prefix" doc:"Only entries whose path begins so: a prefix that ends in a slash, or one path" example:"production/payments/"`
		Caller   string      `query:"caller" doc:"Only this caller" example:"payments/api"`
		Action   auditAction `query:"action" doc:"Only this action"`
		Decision string      `query:"decision" enum:"allowed,denied,failed" doc:"Only this decision"`
		Since    time.Time   `query:"since" doc:"Only entries from this time on"`
		Until    time.Time   `query:"until" doc:"Only entries before this time"`
		Before   int64       `query:"before" minimum:"0" doc:"Only entries with a smaller id"`
		Limit    int         `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most items to return"`
	}
	auditOutput  struct{ Body sdk.AuditList }
	exportInput  struct{ Body sdk.AuditExportRequest }
	exportOutput struct{ Body sdk.AuditPage }
)

// auditAction is an action of the audit log.
type auditAction string

// Schema implements huma.SchemaProvider: the actions that there are.
func (auditAction) Schema(huma.Registry) *huma.Schema {
	actions := audit.Actions()
	enum := make([]any, len(actions))
	for i, action := range actions {
		enum[i] = string(action)
	}
	return &huma.Schema{Type: huma.TypeString, Enum: enum}
}

func (a *api) registerAudit(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/audit", "searchAudit", "Search the audit log, newest first"), a.audit)
	huma.Register(h, operation(http.MethodPost, "/v1/audit/export", "exportAudit", "Export the audit log, oldest first, with what chains its rows, in pages that leave nothing out"), a.exportAudit)
	verify := operation(http.MethodPost, "/v1/audit/verify", "verifyAudit", "Verify that no row of the audit log was changed or removed")
	verify.Responses = map[string]*huma.Response{"200": {
		Description: "One AuditProgress in JSON a line, as the verification goes on; the last one has the report, or what ended it",
		Content:     map[string]*huma.MediaType{ndjson: {Schema: h.OpenAPI().Components.Schemas.Schema(progressType, true, "")}},
	}}
	huma.Register(h, verify, a.verifyAudit)
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

func (a *api) exportAudit(ctx context.Context, in *exportInput) (*exportOutput, error) {
	q := in.Body
	if q.Action != "" && !slices.Contains(audit.Actions(), audit.Action(q.Action)) {
		return nil, newProblem(http.StatusUnprocessableEntity, "the action is none; /openapi.json has them, at the parameter action of /v1/audit")
	}
	page, err := a.vault.ExportAudit(ctx, callerOf(ctx), audit.ExportQuery{
		Query: audit.Query{
			PathPrefix: q.Prefix, Caller: q.Caller, Action: audit.Action(q.Action), Decision: audit.Decision(q.Decision),
			Since: q.Since, Until: q.Until, Limit: q.Limit,
		},
		Anchors: q.Anchors, After: q.After, FromNow: q.FromNow,
	})
	if err != nil {
		return nil, a.fail(ctx, "export the audit log of "+q.Prefix, err)
	}
	out := sdk.AuditPage{Items: make([]sdk.AuditRow, len(page.Rows)), Next: page.Next, More: page.More, Remaining: page.Remaining, Missing: page.Missing}
	for i := range page.Rows {
		out.Items[i] = rowOf(&page.Rows[i])
	}
	return &exportOutput{out}, nil
}

// rowOf is r as the wire has it; what is from before the log was chained has no writer.
func rowOf(r *audit.Row) sdk.AuditRow {
	out := sdk.AuditRow{AuditEntry: entryOf(r.Entry), Heads: r.Heads}
	if r.Writer != uuid.Nil {
		out.Writer, out.Seq = r.Writer.String(), r.Seq
		out.Previous, out.MAC = hex.EncodeToString(r.Previous), hex.EncodeToString(r.MAC)
	}
	return out
}

// reportOf is r as the wire has it.
func reportOf(r audit.Report) sdk.AuditReport {
	out := sdk.AuditReport{
		Rows: r.Rows, Writers: r.Writers, Unchained: r.Unchained, Dropped: r.Dropped, Erasable: r.Erasable, From: r.From, To: r.To,
		Findings: make([]sdk.AuditFinding, len(r.Findings)), More: r.More,
	}
	for i, f := range r.Findings {
		out.Findings[i] = sdk.AuditFinding{
			Kind: string(f.Kind), Writer: f.Writer, First: f.First, Last: f.Last, ID: f.ID, Action: f.Action, Path: f.Path,
			After: f.After, Before: f.Before, Detail: f.Detail,
		}
	}
	return out
}

// ndjson is the media type of one JSON value a line.
const ndjson = "application/x-ndjson"

// progressEvery is how often the client of a verification hears of it.
const progressEvery = 500 * time.Millisecond

var progressType = reflect.TypeFor[sdk.AuditProgress]()

func (a *api) verifyAudit(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	verify, err := a.vault.Verification(ctx, callerOf(ctx))
	if err != nil {
		return nil, a.fail(ctx, "verify the audit log", err)
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", ndjson)
		w := patientWriter(h.BodyWriter())
		last := time.Now()
		// Not the request's deadline: a client that goes away fails the next write.
		report, err := verify(context.WithoutCancel(ctx), func(rows, remaining int64) error {
			if time.Since(last) < progressEvery {
				return nil
			}
			last = time.Now()
			return writeLine(w, sdk.AuditProgress{Rows: rows, Remaining: remaining})
		})
		if err != nil {
			a.logger.ErrorContext(ctx, "a verification broke off", "error", err, "requestID", exchangeOf(ctx).requestID)
			p := problemOf("verify the audit log", err)
			_ = writeLine(w, sdk.AuditProgress{Failure: &sdk.AuditFailure{Status: p.Status, Code: p.Code, Detail: p.Detail}})
			return
		}
		_ = writeLine(w, sdk.AuditProgress{Rows: report.Rows, Report: new(reportOf(report))})
	}}, nil
}

// writeLine sends v to the client at once.
func writeLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return err
	}
	if patient, ok := w.(*deadlineWriter); ok {
		return patient.controller.Flush()
	}
	return nil
}

// ActionsSource is sdk/actions.go: the SDK imports nothing of the vault, which has the actions.
func ActionsSource() []byte {
	var b bytes.Buffer
	b.WriteString("// Code generated by go generate ./internal/server; DO NOT EDIT.\n\npackage sdk\n\n" +
		"// AuditActions returns the actions that the audit log knows.\nfunc AuditActions() []string {\n\treturn []string{\n")
	for _, action := range audit.Actions() {
		fmt.Fprintf(&b, "\t\t%q,\n", action)
	}
	b.WriteString("\t}\n}\n")
	return b.Bytes()
}
