package audit

import "strings"

// Limits of Export.Limit.
const (
	DefaultExport = 1000
	MaxExport     = 5000
)

// ExportQuery selects rows to export, oldest first. Before is not used, and Limit is 1 to
// MaxExport, 0 for DefaultExport.
type ExportQuery struct {
	Query
	// Anchors selects anchors too, when Action is empty.
	Anchors bool
	// After goes on from ExportPage.Next; empty from the beginning of the log.
	After string
	// FromNow selects nothing, and gives the position to go on from with what is
	// written from now on.
	FromNow bool
}

// Normal returns q with its Limit in range.
func (q ExportQuery) Normal() ExportQuery {
	if q.Limit <= 0 {
		q.Limit = DefaultExport
	}
	q.Limit = min(q.Limit, MaxExport)
	return q
}

// Selects reports whether the filters let e through, as a search of the database does.
func (q ExportQuery) Selects(e *Entry) bool {
	switch {
	case strings.HasSuffix(q.PathPrefix, "/") && !strings.HasPrefix(e.Path, q.PathPrefix),
		q.PathPrefix != "" && !strings.HasSuffix(q.PathPrefix, "/") && e.Path != q.PathPrefix,
		q.Caller != "" && e.Caller != q.Caller,
		q.Action != "" && e.Action != q.Action,
		q.Action == "" && e.Action == Anchor && !q.Anchors,
		q.Decision != "" && e.Decision != q.Decision,
		!q.Since.IsZero() && e.At.Before(q.Since),
		!q.Until.IsZero() && !e.At.Before(q.Until):
		return false
	}
	return true
}

// ExportPage is a piece of an export.
type ExportPage struct {
	// Rows are in the order of ids. A row that committed late has a smaller id than
	// rows of earlier pages.
	Rows []Row
	// Next is ExportQuery.After of the next page.
	Next string
	// More says that the next page goes on with the same moment. Otherwise everything that was committed when
	// the export began was looked at, and Next goes on with what is committed later.
	More bool
	// Remaining is how many rows there are at most still to be looked at.
	Remaining int64
	// Missing is how many rows of the moment are not in the log any more, once it was looked at.
	Missing int64
}
