package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	ID          int64     `json:"id" doc:"Grows with every entry"`
	At          time.Time `json:"at" doc:"When, by the clock of the replica that served"`
	Cluster     string    `json:"cluster,omitempty" doc:"Cluster of the caller"`
	CallerKind  string    `json:"callerKind" doc:"ServiceAccount, User or System"`
	Caller      string    `json:"caller" doc:"Who asked" example:"payments/api"`
	Namespace   string    `json:"namespace,omitempty" doc:"Namespace of the service account"`
	CallerUID   string    `json:"callerUID,omitempty" doc:"UID of the service account"`
	Environment string    `json:"environment,omitempty" doc:"Environment of the caller"`
	Action      string    `json:"action" doc:"What was asked" example:"read"`
	Path        string    `json:"path" doc:"Path asked for, or the prefix of a list"`
	Version     int64     `json:"version,omitempty" doc:"Version written, served or asked for"`
	Decision    string    `json:"decision" doc:"allowed, denied or failed"`
	Rule        string    `json:"rule,omitempty" doc:"What decided, or why it failed"`
	Address     string    `json:"address,omitempty" doc:"Where the request came from"`
	RequestID   string    `json:"requestID,omitempty" doc:"Ties the entry to a request"`
}

// AuditList is a page of the audit log, newest first.
type AuditList struct {
	Items []AuditEntry `json:"items" nullable:"false" doc:"The entries that the caller may see"`
	// Next is the "before" of the next page; 0 on the last page.
	Next int64 `json:"next,omitempty" doc:"Pass as before to go on; absent on the last page"`
}

// AuditQuery selects entries of the audit log. Zero fields select all.
type AuditQuery struct {
	// Prefix is "production/payments/" for everything below, or one whole path.
	Prefix string
	// Caller is compared as a whole: "payments/api", "user:alice".
	Caller string
	// Action is "read", "put", "rotate" and so on; Decision "allowed", "denied" or
	// "failed".
	Action, Decision string
	// Since is inclusive, Until exclusive.
	Since, Until time.Time
	// Before selects entries with a smaller ID: AuditList.Next gives the next page.
	Before int64
	// Limit is at most 1000; 0 is the server's default of 100.
	Limit int
}

// Audit searches the audit log, newest entries first. It needs the audit capability.
func (c *Client) Audit(ctx context.Context, q AuditQuery) (AuditList, error) {
	query := url.Values{}
	set(query, "prefix", q.Prefix)
	set(query, "caller", q.Caller)
	set(query, "action", q.Action)
	set(query, "decision", q.Decision)
	setTime(query, "since", q.Since)
	setTime(query, "until", q.Until)
	setInt(query, "before", q.Before)
	setInt(query, "limit", int64(q.Limit))
	var out AuditList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/audit", query: query, repeatable: true}, &out)
	return out, err
}

// AuditRow is an entry as it is stored and chained. Each row belongs to a writer, of which
// a server has several, and is the Seq-th of it; MAC is keyed, so that only the vault can verify it.
type AuditRow struct {
	AuditEntry
	Writer string `json:"writer,omitempty" doc:"Writer of the row; absent for rows from before the log was chained" example:"3f0c6f5e-5a5e-4a44-9f3c-0b1d7a6f9d11"`
	Seq    int64  `json:"seq,omitempty" doc:"Number of the row among those of its writer, from 1 and without a gap"`
	// Previous and MAC are in hex.
	Previous string `json:"previous,omitempty" doc:"MAC of the writer's row before, in hex; zeros in the first"`
	MAC      string `json:"mac,omitempty" doc:"Keyed MAC over all other fields, in hex"`
	Heads    string `json:"heads,omitempty" doc:"In an anchor: where other writers stood, a line of writer, seq and mac each"`
}

// AuditExportRequest selects rows to export. Zero fields select all.
type AuditExportRequest struct {
	// Prefix is "production/payments/" for everything below, or one whole path.
	Prefix   string `json:"prefix,omitempty" doc:"Only rows whose path begins so: a prefix that ends in a slash, or one path"`
	Caller   string `json:"caller,omitempty" doc:"Only this caller" example:"payments/api"`
	Action   string `json:"action,omitempty" doc:"Only this action" example:"read"`
	Decision string `json:"decision,omitempty" doc:"Only this decision: allowed, denied or failed"`
	// Since is inclusive, Until exclusive.
	Since time.Time `json:"since,omitzero" doc:"Only rows from this time on"`
	Until time.Time `json:"until,omitzero" doc:"Only rows before this time"`
	// Anchors selects the rows by which the log vouches for itself too.
	Anchors bool `json:"anchors,omitempty" doc:"Also anchors, by which the log vouches for itself"`
	// After is AuditPage.Next of a page before; empty from the beginning of the log.
	After string `json:"after,omitempty" doc:"Go on from the next of a page before; from the beginning of the log when absent"`
	// FromNow selects nothing and gives the position for what is written from now on.
	FromNow bool `json:"fromNow,omitempty" doc:"Give no rows, and the position to go on from with what is written from now on"`
	// Limit is at most 5000; 0 is the server's default of 1000.
	Limit int `json:"limit,omitempty" minimum:"0" maximum:"5000" doc:"Most rows to return; 1000 when absent"`
}

// AuditPage is a piece of an export.
type AuditPage struct {
	Items []AuditRow `json:"items" nullable:"false" doc:"The rows that the caller may see, by id"`
	// Next is After of the next page.
	Next string `json:"next" doc:"Pass as after to go on, now or later"`
	// More says that the export goes on: Next gives more of what was in the log when
	// it began.
	More bool `json:"more" doc:"Whether next goes on with what was in the log when the export began, rather than with what is written later"`
	// Remaining and Missing are counts of rows.
	Remaining int64 `json:"remaining,omitempty" doc:"How many rows there are at most still to be looked at"`
	Missing   int64 `json:"missing,omitempty" doc:"How many rows that were written since the position are not in the log any more"`
}

// ExportAuditPage reads one page of the audit log, oldest rows first, with what chains
// them. It needs the audit capability. No row is left out or given twice when each page
// goes on from the one before, also when its transaction commits late.
func (c *Client) ExportAuditPage(ctx context.Context, r AuditExportRequest) (AuditPage, error) {
	var out AuditPage
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/audit/export", body: r, repeatable: true}, &out)
	return out, err
}

// ExportAudit gives take the pages of everything that is in the audit log now, after
// r.After. It returns the position to go on from another time, also
// with an error, which may be take's: that page then comes again.
func (c *Client) ExportAudit(ctx context.Context, r AuditExportRequest, take func(AuditPage) error) (next string, err error) {
	for {
		page, err := c.ExportAuditPage(ctx, r)
		if err != nil {
			return r.After, err
		}
		if err := take(page); err != nil {
			return r.After, err
		}
		r.After, r.FromNow = page.Next, false
		if !page.More {
			return page.Next, nil
		}
	}
}

// AuditReport is what a verification of the audit log found.
type AuditReport struct {
	Rows      int64 `json:"rows" doc:"Rows that were verified"`
	Writers   int   `json:"writers" doc:"Writers whose rows they are"`
	Unchained int64 `json:"unchained" doc:"Rows from before the log was chained; nothing is known of them"`
	Dropped   int64 `json:"dropped" doc:"Rows that were dropped because they are older than the retention, as checkpoints in the log say"`
	Erasable  bool  `json:"erasable" doc:"Whether the server's database role may change or remove rows of the log"`
	// From and To are when the first and the last row were written.
	From     *time.Time     `json:"from,omitempty" doc:"When the first row was written"`
	To       *time.Time     `json:"to,omitempty" doc:"When the last row was written"`
	Findings []AuditFinding `json:"findings" nullable:"false" doc:"What is wrong; empty when nothing is"`
	More     int64          `json:"more,omitempty" doc:"Findings that were left out"`
}

// AuditFinding is one thing that is wrong with the audit log. Rows are named by their
// writer and number.
type AuditFinding struct {
	// Kind is "changed", "missing", "truncated", "replaced", "misplaced", "unchained" or
	// "head-changed".
	Kind   string `json:"kind" doc:"changed, missing, truncated, replaced, misplaced, unchained or head-changed"`
	Writer string `json:"writer" doc:"Writer of the rows"`
	First  int64  `json:"first" doc:"Number of the first row"`
	Last   int64  `json:"last" doc:"Number of the last row"`
	// ID, Action and Path are what the row says; empty when it is not there.
	ID     int64  `json:"id,omitempty" doc:"Id of the row, when it is there"`
	Action string `json:"action,omitempty" doc:"Action of the row"`
	Path   string `json:"path,omitempty" doc:"Path of the row"`
	// After and Before are when the rows around missing ones were written.
	After  *time.Time `json:"after,omitempty" doc:"When the row before was written"`
	Before *time.Time `json:"before,omitempty" doc:"When the row after was written"`
	Detail string     `json:"detail" doc:"How it was noticed"`
}

// AuditProgress is a line of the answer to a verification.
type AuditProgress struct {
	Rows      int64 `json:"rows" doc:"Rows verified so far"`
	Remaining int64 `json:"remaining,omitempty" doc:"How many rows there are at most still to be verified"`
	// Report or Failure is in the last line.
	Report  *AuditReport  `json:"report,omitempty" doc:"In the last line: what was found"`
	Failure *AuditFailure `json:"failure,omitempty" doc:"In the last line, instead: why the verification broke off"`
}

// AuditFailure is a Problem after the answer has begun.
type AuditFailure struct {
	Status int    `json:"status" doc:"HTTP status that the answer would have had"`
	Code   Code   `json:"code" doc:"Stable code for programs to switch on" example:"unavailable"`
	Detail string `json:"detail" doc:"What was asked, why it failed, what to do"`
}

// verifySilence is how long a verification may say nothing: far above what lies between two lines.
const verifySilence = 2 * time.Minute

var errSilence = errors.New("the server says nothing any more")

// VerifyAudit verifies the whole audit log: that no row was changed, removed or added
// past Coffer. It needs the audit capability on sys/audit. It takes as long as it takes; progress, which
// may be nil, hears now and then how many rows were verified and how many there are at most
// still to be. It is not tried again.
func (c *Client) VerifyAudit(ctx context.Context, progress func(rows, remaining int64)) (AuditReport, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(verifySilence, func() { cancel(errSilence) })
	defer silence.Stop()
	body, err := c.stream(ctx, "/v1/audit/verify", nil)
	if err != nil {
		return AuditReport{}, err
	}
	defer func() { _ = body.Close() }()
	for lines := json.NewDecoder(body); ; {
		var line AuditProgress
		if err := lines.Decode(&line); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return AuditReport{}, &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the verification broke off: %v; begin anew", err), cause: err}
		}
		silence.Reset(verifySilence)
		switch {
		case line.Failure != nil:
			return AuditReport{}, &Error{Code: line.Failure.Code, Status: line.Failure.Status, Detail: line.Failure.Detail}
		case line.Report != nil:
			return *line.Report, nil
		case progress != nil:
			progress(line.Rows, line.Remaining)
		}
	}
}
