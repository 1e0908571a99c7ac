package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// followEvery is how often the log is asked for new entries, and followAgain how long
// a server that does not answer is left alone.
const (
	followEvery = 2 * time.Second
	followAgain = 10 * time.Second
)

// followAudit prints what is written from now on, and from request.Since on when it is set, until ctx ends.
func (s *session) followAudit(ctx context.Context, client *sdk.Client, request sdk.AuditExportRequest, format string) error {
	request.FromNow = request.Since.IsZero()
	if format == formatTable {
		if err := s.followLine(auditHead); err != nil {
			return err
		}
	}
	for {
		wait := followEvery
		pageCtx, cancel := context.WithTimeout(ctx, s.connection.timeout)
		page, err := client.ExportAuditPage(pageCtx, request)
		cancel()
		switch code := sdk.CodeOf(err); {
		case ctx.Err() != nil:
			return nil // interrupted, as it is meant to end
		case code == sdk.CodeUnavailable || code == sdk.CodeRateLimited:
			_, _ = fmt.Fprintf(s.err, "%v; trying again\n", err)
			wait = followAgain
		case err != nil:
			return err
		default:
			if err := s.printFollowed(page.Items, format); err != nil {
				return err
			}
			request.After, request.FromNow = page.Next, false
			if page.More {
				continue
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (s *session) printFollowed(rows []sdk.AuditRow, format string) error {
	if format == formatJSON {
		return writeRows(s.out, rows)
	}
	for _, r := range rows {
		if err := s.followLine(auditCells(r.AuditEntry)); err != nil {
			return err
		}
	}
	return nil
}

// followLine prints cells in columns that are wide enough for most: what comes later is not known.
func (s *session) followLine(cells []string) error {
	var line strings.Builder
	for i, width := range []int{20, 30, 15, 10, 40, 7, 8, 0} {
		_, _ = fmt.Fprintf(&line, "%-*s   ", width, printable(cells[i]))
	}
	_, err := fmt.Fprintln(s.out, strings.TrimRight(line.String(), " "))
	return err
}
